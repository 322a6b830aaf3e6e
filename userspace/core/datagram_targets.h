// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_DATAGRAM_TARGETS_H_
#define NODEPORT_GUARD_CORE_DATAGRAM_TARGETS_H_

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"

namespace npg::core {

// The destinations to which all datagrams are exempt, those of unconnected sockets, too. Such a
// socket never runs the programs at connect(), so its destinations must be known in advance.
struct DatagramTargets {
  // Address (network order, IPv4 v4-mapped) and port (host order).
  absl::btree_set<std::pair<std::array<uint8_t, 16>, uint16_t>> addresses;
  // Ports that are targets on every address of 127.0.0.0/8.
  absl::btree_set<uint16_t> loopback4;

  bool empty() const { return addresses.empty() && loopback4.empty(); }
  bool Contains(const std::array<uint8_t, 16>& address, uint16_t port) const;
  bool operator==(const DatagramTargets&) const = default;
};

// The destinations at which a guarded UDP listener on a NodePort of `ports` would receive
// the datagram: on loopback, and on the node's `own` addresses, if given.
// A socket that is not guarded takes these away: on a wildcard, all that a guarded wildcard of
// the same port would have in its address families; on an address, this address. On one of
// 127.0.0.0/8, a guarded wildcard keeps 127.0.0.1 alone (unless it is that one), because a range
// cannot have gaps. A socket that `judge` calls no listener counts like one that is not guarded,
// because the kernel would give the datagram to it.
DatagramTargets FindDatagramTargets(const PortEntries& ports,
                                    const std::vector<Listener>& listeners, const AddressSet& own,
                                    absl::FunctionRef<OwnerVerdict(const Listener&)> judge);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_DATAGRAM_TARGETS_H_
