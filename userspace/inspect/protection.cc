// SPDX-License-Identifier: Apache-2.0
#include "inspect/protection.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "base/short_duration.h"
#include "base/text.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/json.h"
#include "inspect/text.h"

namespace npg::inspect {
namespace {

// Ports with binds that a status names.
constexpr size_t kMaxBoundNotes = 10;
constexpr absl::Duration kRecentBinds = absl::Hours(24);

// "refused 3 times", "reported 2 times"; both where the mode was changed.
std::string BindCounts(const abi::BindStats& stats) {
  const auto times = [](absl::string_view what, uint64_t count) {
    return absl::StrCat(what, " ", base::Count(count, "time"));
  };
  if (stats.warned == 0) return times("refused", stats.refused);
  const std::string warned = times("reported", stats.warned);
  return stats.refused == 0 ? warned : absl::StrCat(times("refused", stats.refused), ", ", warned);
}

std::string BoundText(const GuardFacts& facts, const BoundPort& port) {
  return absl::StrCat(
      core::ToString(port.key), port.service.empty() ? "" : " ", base::Printable(port.service),
      ": binds were ", BindCounts(port.stats), ", last ",
      base::Printable(
          OwnerText({port.stats.binder.pid, port.stats.binder.comm}, port.stats.binder.uid)),
      port.stats.binder.pid != 0 ? absl::StrCat(" uid ", port.stats.binder.uid) : "", ", ",
      base::ShortDuration(facts.now - *port.last), " ago");
}

uint32_t FamiliesOf(const GuardFacts& facts, const core::PortKey& key) {
  for (const auto& [refusable, families] : facts.refusable) {
    if (refusable == key) return families;
  }
  return 0;
}

// Why a bind of this NodePort is let pass.
std::string WhyNotRefusable(const GuardFacts& facts, const core::PortKey& key) {
  const abi::NodePort* nodeport = FindNodePort(facts, key);
  if (nodeport != nullptr && nodeport->sources == abi::Bit(abi::Source::kNetfilter)) {
    return "only rules of this node name it, which do not tell whether a pod with hostNetwork "
           "serves it";
  }
  return "a pod with hostNetwork of its own Service may listen on it";
}

Json BoundJson(const BoundPort& port) {
  const abi::BindStats& stats = port.stats;
  Json json;
  json["port"] = port.key.port;
  json["protocol"] = std::string(core::ProtocolName(port.key.protocol));
  json["service"] = TextOrNull(port.service);
  json["warned"] = stats.warned;
  json["refused"] = stats.refused;
  json["last"] = port.last ? Json(base::UtcTime(*port.last)) : Json(nullptr);
  json["binder"] = {{"pid", stats.binder.pid != 0 ? Json(stats.binder.pid) : Json(nullptr)},
                    {"comm", TextOrNull(base::Printable(stats.binder.comm))},
                    {"uid", stats.binder.uid}};
  return json;
}

}  // namespace

std::vector<BoundPort> BoundPorts(const GuardFacts& facts) {
  std::vector<BoundPort> ports;
  for (const auto& [key, stats] : facts.bind_stats) {
    if (stats.warned == 0 && stats.refused == 0) continue;
    const abi::NodePort* nodeport = FindNodePort(facts, key);
    ports.push_back({key, nodeport == nullptr ? "" : nodeport->service, stats,
                     WallTime(facts, stats.last_boot_ns)});
  }
  std::stable_sort(ports.begin(), ports.end(), [](const BoundPort& a, const BoundPort& b) {
    return a.stats.last_boot_ns > b.stats.last_boot_ns;
  });
  return ports;
}

std::string RefusalErrnoText(int error) {
  switch (error) {
    case 0:
      return "";
    case EADDRINUSE:
      return "EADDRINUSE";
    case EPERM:
      return "EPERM";
    default:
      return absl::StrCat("errno ", error);
  }
}

std::optional<std::string> ReserveProblem(const GuardFacts& facts) {
  const abi::Protection& protection = facts.protection;
  if (protection.reserve_state != abi::ReserveState::kFailed) return std::nullopt;
  return absl::StrCat("NodePorts are not reserved (run --reserve-ports) since ",
                      base::UtcTime(protection.since), ": ",
                      protection.error.empty() ? std::string(abi::Meaning(protection.reserve_state))
                                               : base::Printable(protection.error),
                      "; give the controller write access to net.ipv4.ip_local_reserved_ports "
                      "(deploy/components/reserve-ports), it tries again by itself");
}

std::vector<std::string> ProtectionNotes(const GuardFacts& facts,
                                         const std::vector<BoundPort>& bound) {
  std::vector<std::string> notes;
  if (facts.protection.reserve_state == abi::ReserveState::kTooFew) {
    notes.push_back(absl::StrCat("--reserve-ports ", abi::Name(facts.protection.reserve), ": ",
                                 abi::Meaning(facts.protection.reserve_state),
                                 "; 'nodeport-guard doctor' names another setting"));
  }
  std::vector<const BoundPort*> recent;
  for (const BoundPort& port : bound) {
    if (port.last && facts.now - *port.last < kRecentBinds) recent.push_back(&port);
  }
  for (size_t i = 0; i < recent.size() && i < kMaxBoundNotes; ++i) {
    notes.push_back(BoundText(facts, *recent[i]));
  }
  if (recent.size() > kMaxBoundNotes) {
    notes.push_back(absl::StrCat("binds of ", recent.size() - kMaxBoundNotes,
                                 " more NodePorts were refused or reported within a day "
                                 "('nodeport-guard status -o json' has all)"));
  }
  return notes;
}

std::string ReserveText(const GuardFacts& facts) {
  const abi::Protection& protection = facts.protection;
  if (protection.reserve == abi::ReservePorts::kOff) return "";
  std::string text = absl::StrCat(abi::Name(protection.reserve), ": ");
  if (protection.reserve_state == abi::ReserveState::kOk) {
    absl::StrAppend(&text, base::Count(protection.reserved_ports, "port"),
                    " reserved by the guard (net.ipv4.ip_local_reserved_ports)");
  } else {
    absl::StrAppend(&text, abi::Meaning(protection.reserve_state));
  }
  return text;
}

std::string BindText(const GuardFacts& facts, size_t refusable) {
  const abi::Protection& protection = facts.protection;
  if (protection.bind == abi::BindProtection::kOff) return "";
  const std::string error = RefusalErrnoText(protection.refusal_errno);
  const bool deny = protection.bind == abi::BindProtection::kDeny;
  return absl::StrCat(abi::Name(protection.bind), ": ", abi::Meaning(protection.bind),
                      deny && !error.empty() ? absl::StrCat(" (", error, ")") : "", "; ",
                      base::Count(refusable, "NodePort"), ", ",
                      facts.counters[abi::Counter::kBindRefused], " refused, ",
                      facts.counters[abi::Counter::kBindWarned], " reported, ",
                      facts.counters[abi::Counter::kBindSpared], " spared");
}

std::string OverlapText(const GuardFacts& facts) {
  if (!facts.overlap || facts.overlap->allocated == 0) return "";
  const core::PortOverlap& overlap = *facts.overlap;
  return absl::StrCat(overlap.allocated, " of the ", overlap.automatic, " ports of ",
                      overlap.local.first, "-", overlap.local.last, " that the kernel hands out ",
                      overlap.allocated == 1 ? "is" : "are",
                      " allocated ('nodeport-guard doctor' says what ends this)");
}

std::string BindFateText(const GuardFacts& facts, const core::PortKey& key) {
  const abi::Protection& protection = facts.protection;
  if (protection.bind == abi::BindProtection::kOff || FindNodePort(facts, key) == nullptr) {
    return "";
  }
  const bool deny = protection.bind == abi::BindProtection::kDeny;
  const uint32_t families = FamiliesOf(facts, key);
  if (families == 0) {
    return absl::StrCat("a process may bind it, and that is not ", deny ? "refused" : "reported",
                        ": ", WhyNotRefusable(facts, key));
  }
  const std::string error = RefusalErrnoText(protection.refusal_errno);
  std::string text = deny ? absl::StrCat("a bind of it fails", error.empty() ? "" : " with ", error)
                          : std::string("a bind of it is reported");
  if (families != (abi::kFamilyV4 | abi::kFamilyV6)) {
    absl::StrAppend(&text, ", for ", families == abi::kFamilyV4 ? "IPv4" : "IPv6", " only");
  }
  std::vector<std::string> holders;
  for (const core::PortHolder& holder : facts.first_holders) {
    if (holder.port == key) holders.push_back(absl::StrCat("uid ", holder.uid));
  }
  if (!holders.empty()) {
    absl::StrAppend(&text, ", except for ", absl::StrJoin(holders, " and "),
                    ", which had a socket there before it became a NodePort");
  }
  return text;
}

Json ProtectionJson(const GuardFacts& facts, size_t refusable,
                    const std::vector<BoundPort>& bound) {
  const abi::Protection& protection = facts.protection;
  Json json;
  json["reserve_ports"] = {
      {"mode", std::string(abi::Name(protection.reserve))},
      {"state", std::string(abi::Name(protection.reserve_state))},
      {"since",
       abi::IsNever(protection.since) ? Json(nullptr) : Json(base::UtcTime(protection.since))},
      {"ports", protection.reserved_ports},
      {"error", TextOrNull(base::Printable(protection.error))}};
  json["bind"] = {{"mode", std::string(abi::Name(protection.bind))},
                  {"errno", TextOrNull(RefusalErrnoText(protection.refusal_errno))},
                  {"refusable", refusable},
                  {"warned", facts.counters[abi::Counter::kBindWarned]},
                  {"refused", facts.counters[abi::Counter::kBindRefused]},
                  {"spared", facts.counters[abi::Counter::kBindSpared]},
                  {"ports", Json::array()}};
  for (const BoundPort& port : bound) json["bind"]["ports"].push_back(BoundJson(port));
  return json;
}

Json PortRangesJson(const std::optional<core::PortOverlap>& overlap) {
  if (!overlap) return nullptr;
  return {{"first", overlap->local.first},
          {"last", overlap->local.last},
          {"automatic", overlap->automatic},
          {"allocated", overlap->allocated},
          {"usual", overlap->usual},
          {"listeners", overlap->listeners},
          {"collision_probability", overlap->collision},
          {"next_service_probability", overlap->next_service},
          {"advice", std::string(Name(overlap->advice))}};
}

absl::string_view Name(core::OverlapAdvice advice) {
  switch (advice) {
    case core::OverlapAdvice::kReserve:
      return "reserve";
    case core::OverlapAdvice::kReserveFlag:
      return "reserve_flag";
    case core::OverlapAdvice::kMoveRange:
      return "move_range";
    case core::OverlapAdvice::kNone:
      break;
  }
  return "none";
}

}  // namespace npg::inspect
