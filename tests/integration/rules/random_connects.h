// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_CONNECTS_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_CONNECTS_H_

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "core/port.h"
#include "rules/connect.h"

// Real connects, and what the kernel did with the first packet of each.

namespace npg::rules::random_rules {

// IPv4 as v4-mapped IPv6.
std::array<uint8_t, 16> AddressOf(const std::string& text);

struct Target {
  std::string address;
  core::Protocol protocol = core::Protocol::kTcp;
  uint16_t port = 0;
  auto operator<=>(const Target&) const = default;
};
Connect ConnectOf(const Target& target);
std::string ToText(const Target& target);

struct Fate {
  bool redirected = false;   // to another port, or to an address that the node is not said to have
  bool readdressed = false;  // to the same port of another of the node's addresses
  bool arrived = false;      // the packet passed all hooks
};

// The name of the table, of the family inet, with which the lab sees packets.
inline constexpr char kProbeTable[] = "npg_probe";

// A network namespace with the addresses of AddressesOf() on lo and a listener of each protocol at
// each port of Pool() and PodPorts().
class ConnectLab {
 public:
  // The calling thread enters it, for good.
  static absl::StatusOr<ConnectLab> Enter();

  // Connects to each of `targets` at once. `tracked`: as conntrack does by default; otherwise the
  // packets skip it, as exempted ones do.
  absl::StatusOr<std::map<Target, Fate>> Connect(const std::vector<Target>& targets, bool tracked);

 private:
  using Listeners = std::map<int, std::pair<base::UniqueFd, core::PortKey>>;
  struct Attempt;

  explicit ConnectLab(Listeners listeners) : listeners_(std::move(listeners)) {}
  absl::StatusOr<Attempt> Start(const Target& target);
  absl::StatusOr<std::map<uint16_t, uint16_t>> Received();

  Listeners listeners_;
  uint16_t next_source_ = 0;
};

}  // namespace npg::rules::random_rules

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_CONNECTS_H_
