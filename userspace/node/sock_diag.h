// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_SOCK_DIAG_H_
#define NODEPORT_GUARD_NODE_SOCK_DIAG_H_

#include <cstddef>
#include <functional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/accept_queue.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/mark.h"
#include "core/port.h"

namespace npg::node {

// What is read of a BPF socket storage, beside each listed socket (1ed4d92458a9, since 5.7).
// Needs CAP_BPF.
struct SocketStorage {
  int map_fd = -1;  // of a BPF_MAP_TYPE_SK_STORAGE; stays the caller's
  // Called for each listener that has one, with its value, of the map's size.
  std::function<void(absl::string_view value, core::Listener& listener)> read;
};

// The listening TCP (MPTCP included) and bound, unconnected UDP sockets of this
// network namespace, by NETLINK_SOCK_DIAG. Owners are not filled in; see
// owners.h. Needs no privilege. Sorted by port, protocol, address.
absl::StatusOr<std::vector<core::Listener>> ListListeners(const SocketStorage* storage = nullptr);

// Asked of a listener once its storage was read. One that is not kept takes no memory: a user may
// have a million of them. The kernel may interrupt a list, which then starts again, so that it
// is asked twice.
using KeepListener = absl::FunctionRef<bool(const core::Listener&)>;
inline bool KeepAny(const core::Listener& /*listener*/) { return true; }

// Those of them that `wanted` and `keep` select, and the total number. Cheaper if few of many
// are wanted.
struct ListenersOn {
  std::vector<core::Listener> listeners;
  size_t all = 0;
};
absl::StatusOr<ListenersOn> ListListenersOn(absl::FunctionRef<bool(const core::PortKey&)> wanted,
                                            const SocketStorage* storage = nullptr,
                                            KeepListener keep = KeepAny);

// Only the UDP ones.
absl::StatusOr<ListenersOn> ListUdpListenersOn(absl::FunctionRef<bool(const core::PortKey&)> wanted,
                                               const SocketStorage* storage = nullptr);

// Only the TCP ones. The kernel walks its table of listeners for it, and not that of connections.
absl::StatusOr<ListenersOn> ListTcpListenersOn(absl::FunctionRef<bool(const core::PortKey&)> wanted,
                                               const SocketStorage* storage = nullptr,
                                               KeepListener keep = KeepAny);

// The TCP sockets that are bound and neither listen nor are connected. Kernels before 6.8 list none
// of them.
absl::StatusOr<ListenersOn> ListIdleTcpOn(absl::FunctionRef<bool(const core::PortKey&)> wanted,
                                          const SocketStorage* storage = nullptr);

// The connections that wait in the accept queues of TCP listeners of this network namespace. Needs
// no privilege. The kernel walks its table of connections for it: ask for those of few listeners.
absl::StatusOr<std::vector<core::WaitingConnection>> ListWaitingConnections(
    const core::WaitingQuery& query);

// The TCP and connected UDP sockets to a loopback address, or to one of the
// node's `own` that are in scope, that carry the mark: flows that the guard
// exempts now, seen from the client. TCP in every state from
// SYN_SENT to LAST_ACK: half-closed and orphaned connections still have packets
// to send; TIME_WAIT is over. The subflows of an MPTCP socket are TCP sockets
// and carry the mark themselves. PERMISSION_DENIED without CAP_NET_ADMIN, which
// the kernel requires for marks.
absl::StatusOr<std::vector<core::Flow>> ListMarkedFlows(core::Mark mark,
                                                        const core::AddressSet& own = {});

// Those, and the connected UDP sockets to a destination among `targets`, which carry no mark.
absl::StatusOr<std::vector<core::Flow>> ListExemptFlows(core::Mark mark,
                                                        const core::DatagramTargets& targets,
                                                        const core::AddressSet& own = {});

// Every TCP connection and connected UDP socket over loopback or between `own` addresses, marked or
// not, TIME_WAIT included, as each of its sockets sees it ("client" is that socket's own address):
// a connection with both ends on this node is listed twice, once for each end. Needs no privilege.
absl::StatusOr<std::vector<core::Flow>> ListLocalFlows(const core::AddressSet& own = {});

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_SOCK_DIAG_H_
