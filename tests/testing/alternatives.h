// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_ALTERNATIVES_H_
#define NODEPORT_GUARD_TESTS_TESTING_ALTERNATIVES_H_

#include <array>
#include <cstdint>

namespace npg::testing {

// For which listeners of the node a way to avoid conflicts helps.
enum class Helps : uint8_t {
  kNo,
  kAssigned,  // those whose port the kernel assigns
  kGiven,     // those that ask for their port by its number
  kYes,       // both
};

// As docs/alternatives.md says it.
constexpr const char* Word(Helps helps) {
  switch (helps) {
    case Helps::kNo:
      return "no";
    case Helps::kAssigned:
      return "assigned ports";
    case Helps::kGiven:
      return "given ports";
    case Helps::kYes:
      return "yes";
  }
  return "";
}

enum class Way : uint8_t {
  kNothing,
  kRangesApart,
  kStaticReservation,
  kFixedPort,
  kNoLocalhostNodePorts,
  kNftablesMode,
  kGuard,
  kGuardScopeLocal,
  kReservePorts,
  kBindProtection,
};

// A way to avoid conflicts, and what it does on a real kernel: alternatives_test.cc compares each
// member with the kernel, alternatives_docs_test.cc with the table of docs/alternatives.md.
struct Alternative {
  Way way;
  const char* name;      // the first cell of its row, and the parameter of the tests
  Helps listener_first;  // ListenerFirst
  Helps nodeport_first;  // NodePortFirst
  Helps no_endpoints;    // NoEndpoints
  Helps keeps_others;    // OtherNodePorts: yes or no
  Helps node_addresses;  // NodeAddresses
  Helps udp;             // Udp
};

inline constexpr auto kAlternatives = std::to_array<Alternative>({
    {Way::kNothing, "nothing", Helps::kNo, Helps::kNo, Helps::kNo, Helps::kYes, Helps::kNo,
     Helps::kNo},
    {Way::kRangesApart, "ranges_apart", Helps::kAssigned, Helps::kAssigned, Helps::kAssigned,
     Helps::kYes, Helps::kAssigned, Helps::kAssigned},
    {Way::kStaticReservation, "static_reservation", Helps::kAssigned, Helps::kAssigned,
     Helps::kAssigned, Helps::kYes, Helps::kAssigned, Helps::kAssigned},
    {Way::kFixedPort, "fixed_port", Helps::kYes, Helps::kYes, Helps::kYes, Helps::kYes, Helps::kYes,
     Helps::kYes},
    {Way::kNoLocalhostNodePorts, "no_localhost_nodeports", Helps::kYes, Helps::kYes, Helps::kNo,
     Helps::kNo, Helps::kNo, Helps::kYes},
    {Way::kNftablesMode, "nftables_mode", Helps::kYes, Helps::kYes, Helps::kYes, Helps::kNo,
     Helps::kNo, Helps::kYes},
    {Way::kGuard, "guard", Helps::kYes, Helps::kYes, Helps::kYes, Helps::kYes, Helps::kNo,
     Helps::kGiven},
    {Way::kGuardScopeLocal, "guard_scope_local", Helps::kYes, Helps::kYes, Helps::kYes, Helps::kYes,
     Helps::kYes, Helps::kGiven},
    {Way::kReservePorts, "reserve_ports", Helps::kYes, Helps::kYes, Helps::kYes, Helps::kYes,
     Helps::kNo, Helps::kGiven},
    {Way::kBindProtection, "bind_protection", Helps::kYes, Helps::kYes, Helps::kYes, Helps::kYes,
     Helps::kNo, Helps::kGiven},
});

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_ALTERNATIVES_H_
