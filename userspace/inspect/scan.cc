// SPDX-License-Identifier: Apache-2.0
#include "inspect/scan.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "core/conflicts.h"
#include "core/coverage.h"
#include "core/decision.h"
#include "core/decision_rows.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_ranges.h"
#include "inspect/json.h"
#include "inspect/status.h"
#include "inspect/text.h"

namespace npg::inspect {
namespace {

Json ConflictsJson(const std::vector<Conflict>& conflicts) {
  Json list = Json::array();
  for (const Conflict& conflict : conflicts) list.push_back(ConflictJson(conflict));
  return list;
}

core::OwnerVerdict JudgeOwner(core::Listener listener, const core::PortRange& automatic,
                              const core::OwnerRules& rules) {
  if (!listener.binder) listener.binder = core::GuessBinder(listener, automatic);
  const core::OwnerVerdict verdict = rules.Judge(listener);
  // Of a listener with an unknown owner the name does not decide: it may be affected.
  const bool by_name = verdict == core::OwnerVerdict::kIgnored;
  return by_name && listener.binder->comm.empty() ? core::OwnerVerdict::kGuarded : verdict;
}

// What a guard in mode enforce decides about a connect to the listener, whose owner it guards.
core::Verdict VerdictWithGuard(const ScanFacts& facts, const core::Listener& listener) {
  constexpr std::array<uint8_t, 16> kLoopback4 = {0, 0, 0,    0,    0,   0, 0, 0,
                                                  0, 0, 0xff, 0xff, 127, 0, 0, 1};
  constexpr std::array<uint8_t, 16> kLoopback6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  core::ConnectFacts connect;
  connect.protocol = static_cast<uint32_t>(listener.key.protocol);
  connect.destination = listener.address;
  if (core::IsWildcard(listener.address)) {
    connect.destination = core::IsV4Mapped(listener.address) ? kLoopback4 : kLoopback6;
  }
  connect.guards_own_addresses = !facts.own.empty();
  connect.own_address = facts.own.contains(listener.address);
  connect.nodeport = true;
  connect.guarded_netns = true;
  connect.listener = core::IsLookedUp(listener);
  connect.owner_trusted = true;
  connect.enforce = true;
  connect.mark_set = true;
  return core::Decide(connect).verdict;
}

}  // namespace

ScanReport MakeScanReport(const ScanFacts& facts, const core::OwnerRules& rules) {
  ScanReport report;
  report.facts = &facts;
  size_t unknown = 0;
  size_t no_process = 0;
  const auto judge = [&](const core::Listener& listener) {
    return JudgeOwner(listener, facts.automatic, rules);
  };
  for (core::Conflict& found :
       core::FindConflicts(facts.ports, facts.candidates, facts.own, facts.histories, judge)) {
    const core::Owner& owner = found.listener.owner;
    if (owner.pid == 0) ++(owner.no_process ? no_process : unknown);
    Conflict conflict{std::move(found), {}};
    conflict.owner = NameOf(conflict.listener);
    switch (conflict.owner_verdict) {
      case core::OwnerVerdict::kIgnored:
        report.ignored.push_back(std::move(conflict));
        break;
      case core::OwnerVerdict::kUntrusted:
        report.untrusted.push_back(std::move(conflict));
        break;
      default:
        report.conflicts.push_back(std::move(conflict));
    }
  }
  for (const auto& group : GroupConflicts(report.conflicts)) {
    const core::Listener& listener = group.conflict->listener;
    const std::string name = absl::StrCat(core::ToString(listener.key), " ", AddressOf(group));
    if (facts.cilium_socket_lb) {
      report.not_ended.push_back(name);
    } else if (VerdictWithGuard(facts, listener) != core::Verdict::kExempt) {
      report.not_ended.push_back(name);
      report.notes.push_back(absl::StrCat(name, " ", NotLookedUpText()));
    } else {
      // Without flags, it reads the rules of kube-proxy and, in a pod, the API server.
      const bool known = (group.conflict->sources & abi::Bit(abi::Source::kNetfilter)) != 0;
      report.needs_flags |=
          !known || !core::ReachableOverLoopback(listener) ||
          JudgeOwner(listener, facts.automatic, facts.by_default) != core::OwnerVerdict::kGuarded;
    }
  }
  if (facts.cilium_socket_lb) report.notes.push_back(CiliumText());
  report.notes.insert(report.notes.end(), facts.coverage.notes.begin(), facts.coverage.notes.end());
  for (const std::string& line : facts.failed_sources) {
    report.notes.push_back(absl::StrCat("not read: ", line));
  }
  for (const std::string& line : facts.skipped)
    report.notes.push_back(absl::StrCat("skipped: ", line));
  if (no_process > 0) report.notes.push_back(NoProcessText(no_process));
  if (unknown > 0) report.notes.push_back(UnknownOwnersText(unknown, facts.gaps));
  return report;
}

Json ScanJson(const ScanReport& report) {
  Json json;
  json["conflicts"] = ConflictsJson(report.conflicts);
  json["ignored"] = ConflictsJson(report.ignored);
  json["untrusted"] = ConflictsJson(report.untrusted);
  json["nodeports"]["total"] = report.facts->ports.size();
  for (const auto& [name, count] : report.facts->sources) json["nodeports"][name] = count;
  json["coverage"] = std::string(core::Name(report.facts->coverage.coverage));
  json["listeners"] = report.facts->listeners;
  json["guarded"] = report.facts->guarded;
  json["notes"] = report.notes;
  return json;
}

}  // namespace npg::inspect
