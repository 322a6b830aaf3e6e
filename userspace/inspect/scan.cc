// SPDX-License-Identifier: Apache-2.0
#include "inspect/scan.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "core/conflicts.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/owner_policy.h"
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

}  // namespace

ScanReport MakeScanReport(const ScanFacts& facts, const core::OwnerRules& rules) {
  ScanReport report;
  report.facts = &facts;
  size_t unknown = 0;
  // Of a listener with an unknown owner the name does not decide: it may be affected.
  const auto judge = [&](core::Listener listener) {
    if (!listener.binder) listener.binder = core::GuessBinder(listener, facts.automatic);
    const core::OwnerVerdict verdict = rules.Judge(listener);
    const bool by_name = verdict == core::OwnerVerdict::kIgnored;
    return by_name && listener.binder->comm.empty() ? core::OwnerVerdict::kGuarded : verdict;
  };
  for (core::Conflict& found :
       core::FindConflicts(facts.ports, facts.candidates, facts.own, facts.histories, judge)) {
    if (found.listener.owner.pid == 0) ++unknown;
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
  report.notes = facts.coverage.notes;
  for (const std::string& line : facts.failed_sources) {
    report.notes.push_back(absl::StrCat("not read: ", line));
  }
  for (const std::string& line : facts.skipped)
    report.notes.push_back(absl::StrCat("skipped: ", line));
  if (unknown > 0) {
    report.notes.push_back(absl::StrCat(
        "no process was found for ", base::Count(unknown, "listener"),
        facts.gaps.unreadable_processes > 0 ? "; run it as root to see those of other users" : ""));
  }
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
