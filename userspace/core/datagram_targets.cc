// SPDX-License-Identifier: Apache-2.0
#include "core/datagram_targets.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"

namespace npg::core {
namespace {

using Address = std::array<uint8_t, 16>;

constexpr Address kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

// Ports with a socket that is not guarded, by the addresses that it takes datagrams of.
struct Passed {
  absl::btree_set<uint16_t> ipv4, ipv6;
};

void AddWildcard(const Listener& listener, const AddressSet& own, const Passed& passed,
                 DatagramTargets& targets) {
  const uint16_t port = listener.key.port;
  const bool ipv4 = IsV4Mapped(listener.address);
  const bool takes_ipv4 = (ipv4 || !listener.v6only) && !passed.ipv4.contains(port);
  const bool takes_ipv6 = !ipv4 && !passed.ipv6.contains(port);
  if (takes_ipv4) targets.loopback4.insert(port);
  if (takes_ipv6) targets.addresses.emplace(kLoopback6, port);
  for (const Address& address : own) {
    if (IsV4Mapped(address) ? takes_ipv4 : takes_ipv6) targets.addresses.emplace(address, port);
  }
}

}  // namespace

bool DatagramTargets::Contains(const Address& address, uint16_t port) const {
  if (addresses.contains(std::pair(address, port))) return true;
  return IsV4Mapped(address) && IsLoopback(address) && loopback4.contains(port);
}

DatagramTargets FindDatagramTargets(const PortEntries& ports,
                                    const std::vector<Listener>& listeners, const AddressSet& own,
                                    absl::FunctionRef<OwnerVerdict(const Listener&)> judge) {
  DatagramTargets targets;
  Passed passed;
  decltype(targets.addresses) shared;
  std::vector<const Listener*> wildcards;
  for (const Listener& listener : listeners) {
    if (listener.key.protocol != Protocol::kUdp || !ports.contains(listener.key) ||
        !ReachableOverLoopbackOr(own, listener)) {
      continue;
    }
    const bool wildcard = IsWildcard(listener.address);
    if (judge(listener) == OwnerVerdict::kGuarded) {
      if (wildcard) {
        wildcards.push_back(&listener);
      } else {
        targets.addresses.emplace(listener.address, listener.key.port);
      }
    } else {
      // With SO_REUSEADDR, any user's socket can share the address of a guarded one, and receives
      // its datagrams: then none is exempt.
      const bool ipv4 = IsV4Mapped(listener.address);
      if (ipv4 || (wildcard && !listener.v6only)) passed.ipv4.insert(listener.key.port);
      if (!ipv4) passed.ipv6.insert(listener.key.port);
      shared.emplace(listener.address, listener.key.port);
    }
  }
  for (const auto& one : shared) targets.addresses.erase(one);
  for (const Listener* listener : wildcards) AddWildcard(*listener, own, passed, targets);
  return targets;
}

}  // namespace npg::core
