// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_PROTECTION_H_
#define NODEPORT_GUARD_INSPECT_PROTECTION_H_

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "inspect/guard_facts.h"

// Reserved ports and bind protection, from the facts: pure functions.

namespace npg::inspect {

// A port of which binds were reported or refused.
struct BoundPort {
  core::PortKey key;
  std::string service;  // as in the map nodeports; empty: not named, or no NodePort any more
  abi::BindStats stats;
  std::optional<absl::Time> last;
};
// The latest first.
std::vector<BoundPort> BoundPorts(const GuardFacts& facts);

// "EADDRINUSE", "EPERM"; "" for 0.
std::string RefusalErrnoText(int error);

// Why NodePorts are not reserved although they should be, with a remedy; nullopt when they are.
std::optional<std::string> ReserveProblem(const GuardFacts& facts);

// That too few ports would be left, and the binds of the last day.
std::vector<std::string> ProtectionNotes(const GuardFacts& facts,
                                         const std::vector<BoundPort>& bound);

// "allocated: 12 ports reserved for 3d"; empty where it is off.
std::string ReserveText(const GuardFacts& facts);
// "deny: a bind of an allocated NodePort fails (EADDRINUSE); 12 NodePorts are refusable; ...";
// empty where it is off.
std::string BindText(const GuardFacts& facts, size_t refusable);
// "12 of the 28232 ports of 32768-60999 are NodePorts (nodeport-guard doctor says how to end
// this)"; empty without an overlap.
std::string OverlapText(const GuardFacts& facts);

// Whether a process may bind this NodePort, which has no listener: "a bind of it fails with
// EADDRINUSE, except for uid 1000, which had a socket there before". Empty where bind protection is
// off.
std::string BindFateText(const GuardFacts& facts, const core::PortKey& key);

// The members `protection` and `port_ranges` of the status.
nlohmann::ordered_json ProtectionJson(const GuardFacts& facts, size_t refusable,
                                      const std::vector<BoundPort>& bound);
nlohmann::ordered_json PortRangesJson(const std::optional<core::PortOverlap>& overlap);

// "reserve", "reserve_flag", "move_range"; "none".
absl::string_view Name(core::OverlapAdvice advice);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_PROTECTION_H_
