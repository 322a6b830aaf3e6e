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

namespace npg::core {

// Where datagrams of sockets that are not connected are exempt. The programs
// decide at connect(), which such a socket never calls, so the decision has to
// be there before the datagram is: by where it goes.
struct DatagramTargets {
  // Address (network order, IPv4 v4-mapped) and port (host order).
  absl::btree_set<std::pair<std::array<uint8_t, 16>, uint16_t>> addresses;
  // Ports for which that is so on every address of 127.0.0.0/8.
  absl::btree_set<uint16_t> loopback4;

  bool empty() const { return addresses.empty() && loopback4.empty(); }
  bool operator==(const DatagramTargets&) const = default;
};

// The targets for which a guarded UDP listener on a NodePort of `ports` would
// receive the datagram: on loopback, and on the node's `own` addresses, if any
// are given. `ignored` says of a listener that its owner does not count.
//
// Where the owner of one address of a port is ignored and the owner of its
// wildcard is not, only what is bound to an address of its own is a target.
DatagramTargets FindDatagramTargets(const PortEntries& ports,
                                    const std::vector<Listener>& listeners, const AddressSet& own,
                                    absl::FunctionRef<bool(const Listener&)> ignored);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_DATAGRAM_TARGETS_H_
