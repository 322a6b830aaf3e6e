// SPDX-License-Identifier: Apache-2.0
#include "core/datagram_targets.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/port.h"

namespace npg::core {
namespace {

using Address = std::array<uint8_t, 16>;

constexpr Address kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

// Ports with an ignored socket that is bound to an address.
struct Ignored {
  absl::btree_set<uint16_t> ipv4, ipv6;
};

void AddWildcard(const Listener& listener, const AddressSet& own, const Ignored& ignored,
                 DatagramTargets& targets) {
  const uint16_t port = listener.key.port;
  const bool ipv4 = IsV4Mapped(listener.address);
  const bool takes_ipv4 = (ipv4 || !listener.v6only) && !ignored.ipv4.contains(port);
  const bool takes_ipv6 = !ipv4 && !ignored.ipv6.contains(port);
  if (takes_ipv4) targets.loopback4.insert(port);
  if (takes_ipv6) targets.addresses.emplace(kLoopback6, port);
  for (const Address& address : own) {
    if (IsV4Mapped(address) ? takes_ipv4 : takes_ipv6) targets.addresses.emplace(address, port);
  }
}

}  // namespace

DatagramTargets FindDatagramTargets(const PortEntries& ports,
                                    const std::vector<Listener>& listeners, const AddressSet& own,
                                    absl::FunctionRef<bool(const Listener&)> ignored) {
  DatagramTargets targets;
  Ignored passed;
  std::vector<const Listener*> wildcards;
  for (const Listener& listener : listeners) {
    if (listener.key.protocol != Protocol::kUdp || !ports.contains(listener.key) ||
        !ReachableOverLoopbackOr(own, listener)) {
      continue;
    }
    const bool wildcard = IsWildcard(listener.address);
    if (!ignored(listener)) {
      if (wildcard) {
        wildcards.push_back(&listener);
      } else {
        targets.addresses.emplace(listener.address, listener.key.port);
      }
    } else if (!wildcard) {
      (IsV4Mapped(listener.address) ? passed.ipv4 : passed.ipv6).insert(listener.key.port);
    }
  }
  for (const Listener* listener : wildcards) AddWildcard(*listener, own, passed, targets);
  return targets;
}

}  // namespace npg::core
