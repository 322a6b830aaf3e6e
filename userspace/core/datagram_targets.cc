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

constexpr Address kLoopback4{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
constexpr Address kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

// Where sockets that are not guarded receive.
struct Passed {
  absl::btree_set<uint16_t> ipv4, ipv6;            // ports of wildcards, by the family they take
  decltype(DatagramTargets::addresses) addresses;  // of the others
  absl::btree_set<uint16_t> loopback4;             // ports of those on 127.0.0.0/8
};

void AddPassed(const Listener& listener, Passed& passed) {
  const uint16_t port = listener.key.port;
  const bool ipv4 = IsV4Mapped(listener.address);
  if (IsWildcard(listener.address)) {
    if (ipv4 || !listener.v6only) passed.ipv4.insert(port);
    if (!ipv4) passed.ipv6.insert(port);
    return;
  }
  passed.addresses.emplace(listener.address, port);
  if (ipv4 && IsLoopback(listener.address)) passed.loopback4.insert(port);
}

void AddWildcard(const Listener& listener, const AddressSet& own, const Passed& passed,
                 DatagramTargets& targets) {
  const uint16_t port = listener.key.port;
  const bool ipv4 = IsV4Mapped(listener.address);
  const bool takes_ipv4 = (ipv4 || !listener.v6only) && !passed.ipv4.contains(port);
  const bool takes_ipv6 = !ipv4 && !passed.ipv6.contains(port);
  // The kernel prefers a socket on the address itself.
  const auto add = [&](const Address& address) {
    const auto target = std::pair(address, port);
    if (!passed.addresses.contains(target)) targets.addresses.insert(target);
  };
  if (takes_ipv4) {
    if (passed.loopback4.contains(port)) {
      add(kLoopback4);
    } else {
      targets.loopback4.insert(port);
    }
  }
  if (takes_ipv6) add(kLoopback6);
  for (const Address& address : own) {
    if (IsV4Mapped(address) ? takes_ipv4 : takes_ipv6) add(address);
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
  std::vector<const Listener*> wildcards;
  for (const Listener& listener : listeners) {
    if (listener.key.protocol != Protocol::kUdp || !ports.contains(listener.key) ||
        !ReachableOverLoopbackOr(own, listener)) {
      continue;
    }
    if (judge(listener) != OwnerVerdict::kGuarded) {
      AddPassed(listener, passed);
    } else if (IsWildcard(listener.address)) {
      wildcards.push_back(&listener);
    } else {
      targets.addresses.emplace(listener.address, listener.key.port);
    }
  }
  // With SO_REUSEADDR, any user's socket can share the address of a guarded one, and receives its
  // datagrams: then none is exempt.
  for (const auto& one : passed.addresses) targets.addresses.erase(one);
  for (const Listener* listener : wildcards) AddWildcard(*listener, own, passed, targets);
  return targets;
}

}  // namespace npg::core
