// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_SOCK_DIAG_H_
#define NODEPORT_GUARD_NODE_SOCK_DIAG_H_

#include <cstddef>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/mark.h"
#include "core/port.h"

namespace npg::node {

// The listening TCP (MPTCP included) and bound, unconnected UDP sockets of this
// network namespace, by NETLINK_SOCK_DIAG. Owners are not filled in; see
// owners.h. Needs no privilege. Sorted by port, protocol, address.
absl::StatusOr<std::vector<core::Listener>> ListListeners();

// Those of them that `wanted` selects, and the total number. Cheaper if few of many are
// wanted.
struct ListenersOn {
  std::vector<core::Listener> listeners;
  size_t all = 0;
};
absl::StatusOr<ListenersOn> ListListenersOn(absl::FunctionRef<bool(const core::PortKey&)> wanted);

// Only the UDP ones.
absl::StatusOr<std::vector<core::Listener>> ListUdpListeners();

// The TCP and connected UDP sockets to a loopback address, or to one of the
// node's `own` that are in scope, that carry the mark:
// the flows the guard exempts now, seen from the client. TCP in every state from
// SYN_SENT to LAST_ACK: half-closed and orphaned connections still have packets
// to send; TIME_WAIT is over. The subflows of an MPTCP socket are TCP sockets
// and carry the mark themselves. PERMISSION_DENIED without CAP_NET_ADMIN, which
// the kernel requires for marks.
absl::StatusOr<std::vector<core::Flow>> ListMarkedFlows(core::Mark mark,
                                                        const core::AddressSet& own = {});

// Every TCP connection and connected UDP socket over loopback or between `own` addresses, marked or
// not, TIME_WAIT included, as each of its sockets sees it ("client" is that socket's own address):
// a connection with both ends on this node is listed twice, once for each end. Needs no privilege.
absl::StatusOr<std::vector<core::Flow>> ListLocalFlows(const core::AddressSet& own = {});

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_SOCK_DIAG_H_
