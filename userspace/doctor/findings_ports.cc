// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "core/port_overlap.h"
#include "core/port_ranges.h"
#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/findings.h"
#include "doctor/listed.h"
#include "inspect/port_advice.h"
#include "inspect/protection.h"

namespace npg::doctor {
namespace {

// False where no guard is loaded, or its state cannot be read.
bool IsLoaded(const GuardFacts& guard) { return guard.state == GuardFacts::State::kLoaded; }

bool Reserves(const GuardFacts& guard) {
  return IsLoaded(guard) && guard.protection.reserve_state == abi::ReserveState::kOk;
}

// The ports that no socket should get that asks for any: what `run` reserves.
std::vector<uint16_t> TakenPorts(const PortFacts& ports) {
  std::vector<uint16_t> taken = ports.allocated;
  taken.insert(taken.end(), ports.health_checks.begin(), ports.health_checks.end());
  return taken;
}

// Of sysctls that could be read.
core::PortOverlap OverlapOf(const PortFacts& ports) {
  return core::JudgeOverlap({*ports.local, *ports.reserved, TakenPorts(ports), ports.assigned});
}

Finding JudgeAllocated(const Facts& facts, const core::PortOverlap& overlap) {
  const PortFacts& ports = facts.ports;
  if (overlap.allocated == 0) {
    return {FindingId::kPortRangeAllocated, Severity::kOk,
            absl::StrCat("none of ", ports.allocated.size(),
                         " NodePorts is among the ports that the kernel hands out"),
            ""};
  }
  if (Reserves(facts.guard)) {
    return {FindingId::kPortRangeAllocated, Severity::kOk,
            "the guard reserves the NodePorts that it knows (reserved-ports)", ""};
  }
  const core::PortRanges free = core::Without(*ports.local, *ports.reserved);
  std::vector<std::string> names;
  for (const uint16_t port : TakenPorts(ports)) {
    if (core::Contains(free, port)) names.push_back(absl::StrCat(port));
  }
  const bool asked = IsLoaded(facts.guard) &&
                     facts.guard.protection.reserve == abi::ReservePorts::kAllocated &&
                     overlap.advice == core::OverlapAdvice::kReserveFlag;
  return {FindingId::kPortRangeAllocated, Severity::kWarn,
          absl::StrCat(inspect::OverlapFacts(overlap), ": ", Listed(names, ", ")),
          asked ? "the guard is asked to reserve them and does not: see reserved-ports"
                : inspect::OverlapFix(overlap)};
}

// A listener there can have a number that a later Service gets, also where the guard reserves those
// that are allocated.
Finding JudgeUsual(const Facts& facts, const core::PortOverlap& overlap) {
  const PortFacts& ports = facts.ports;
  if (overlap.usual == 0) {
    return {FindingId::kPortRangeUsual, Severity::kOk,
            absl::StrCat("the kernel hands out no port of ", core::kUsualNodePorts.first, "-",
                         core::kUsualNodePorts.last, ", from which NodePorts usually are"),
            ""};
  }
  const core::PortRanges free = core::Without(*ports.local, *ports.reserved);
  std::string what = absl::StrCat(
      "net.ipv4.ip_local_port_range ", ports.local->first, "-", ports.local->last, " hands out ",
      overlap.usual, " ports of ", core::kUsualNodePorts.first, "-", core::kUsualNodePorts.last,
      ", from which NodePorts usually are; reserving them costs as many of ", overlap.automatic,
      " ports");
  if (overlap.next_service > 0) {
    absl::StrAppend(&what, "; the next Service gets the number of a TCP listener with ",
                    inspect::PercentText(overlap.next_service));
  }
  return {FindingId::kPortRangeUsual, Reserves(facts.guard) ? Severity::kNote : Severity::kWarn,
          std::move(what),
          inspect::ReserveFix(ports.reserved, core::Intersect(free, core::kUsualNodePorts))};
}

Finding JudgeReserved(const Facts& facts, const core::PortOverlap& overlap) {
  const abi::Protection& protection = facts.guard.protection;
  const abi::ReserveState state =
      IsLoaded(facts.guard) ? protection.reserve_state : abi::ReserveState::kOff;
  switch (state) {
    case abi::ReserveState::kOk:
      return {FindingId::kReservedPorts, Severity::kOk,
              absl::StrCat("the guard reserves ", base::Count(protection.reserved_ports, "port"),
                           " (net.ipv4.ip_local_reserved_ports). ", inspect::LimitsOfReserving()),
              ""};
    case abi::ReserveState::kFailed:
      return {FindingId::kReservedPorts, Severity::kWarn,
              absl::StrCat(
                  "the guard cannot reserve NodePorts: ",
                  protection.error.empty() ? std::string(abi::Meaning(state)) : protection.error),
              "give the controller write access to net.ipv4.ip_local_reserved_ports: with the "
              "DaemonSet deploy/components/reserve-ports; it tries again by itself"};
    case abi::ReserveState::kTooFew:
      return {FindingId::kReservedPorts, Severity::kWarn, std::string(abi::Meaning(state)),
              overlap.advice == core::OverlapAdvice::kMoveRange
                  ? inspect::OverlapFix(overlap)
                  : "a wider net.ipv4.ip_local_port_range; the guard tries again by itself"};
    case abi::ReserveState::kOff:
      break;
  }
  if (overlap.allocated == 0) {
    return {FindingId::kReservedPorts, Severity::kOk, "off, and no NodePort needs it", ""};
  }
  return {FindingId::kReservedPorts, Severity::kNote,
          absl::StrCat("off, while the kernel hands out ports that are NodePorts "
                       "(port-range-allocated). It helps for sockets that are bound afterwards. ",
                       inspect::LimitsOfReserving()),
          "nodeport-guard run --reserve-ports allocated, which follows the Services"};
}

Finding JudgeBinds(const GuardFacts& guard) {
  const abi::Protection& protection = guard.protection;
  if (!IsLoaded(guard) || protection.bind == abi::BindProtection::kOff) {
    return {FindingId::kBindProtection, Severity::kOk,
            absl::StrCat("off: ", abi::Meaning(abi::BindProtection::kOff)), ""};
  }
  std::string what =
      absl::StrCat(abi::Name(protection.bind), ": ", abi::Meaning(protection.bind), "; it covers ",
                   guard.refusable, " of ", base::Count(guard.nodeports, "NodePort"));
  Severity severity = Severity::kOk;
  std::string fix;
  if (protection.refusal_errno != 0) {
    absl::StrAppend(&what, "; bind() fails with ",
                    inspect::RefusalErrnoText(protection.refusal_errno));
  }
  if (protection.refusal_errno == EPERM) {
    severity = Severity::kNote;
    absl::StrAppend(&what,
                    " instead of EADDRINUSE, which some programs take for a lack of rights and do "
                    "not try another port");
    fix = "a kernel >= 6.1, where programs at bind() can set the error; or --bind-protection warn";
  }
  if (guard.only_rules && guard.nodeports > 0 && guard.refusable == 0) {
    severity = Severity::kNote;
    absl::StrAppend(&what,
                    ": the source netfilter alone does not tell whether a pod with hostNetwork "
                    "serves a port, so no bind is refused or reported");
    fix = "nodeport-guard run --source kubernetes, or --source file";
  }
  return {FindingId::kBindProtection, severity, std::move(what), std::move(fix)};
}

}  // namespace

std::vector<Finding> JudgePortRanges(const Facts& facts) {
  std::vector<Finding> findings;
  // What could not be read is reported as not-seen.
  if (facts.ports.local.ok() && facts.ports.reserved.ok()) {
    const core::PortOverlap overlap = OverlapOf(facts.ports);
    findings.push_back(JudgeAllocated(facts, overlap));
    findings.push_back(JudgeUsual(facts, overlap));
    findings.push_back(JudgeReserved(facts, overlap));
  }
  findings.push_back(JudgeBinds(facts.guard));
  return findings;
}

}  // namespace npg::doctor
