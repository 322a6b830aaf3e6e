// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_SOCKET_RECORDS_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_SOCKET_RECORDS_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/listener.h"
#include "core/port.h"
#include "node/sock_diag.h"

namespace npg::dataplane {

// The listeners of this network namespace with the guard's records of who bound them: those
// on the sockets (map socket_owners), and those of the controller (map earlier_sockets).
class SocketRecords {
 public:
  // The descriptors stay the caller's; either may be -1 for a guard without that map.
  SocketRecords(int socket_owners, int earlier_sockets)
      : socket_owners_(socket_owners), earlier_sockets_(earlier_sockets) {}

  using Wanted = absl::FunctionRef<bool(const core::PortKey&)>;
  // `keep` sees the records on sockets, but not those in earlier_sockets.
  absl::StatusOr<node::ListenersOn> ListListenersOn(Wanted wanted,
                                                    node::KeepListener keep = node::KeepAny) const;
  // Besides them, the TCP sockets that are bound and do not listen yet, where the kernel lists
  // them (node::ListIdleTcpOn()).
  absl::StatusOr<node::ListenersOn> ListBoundOn(Wanted wanted) const;
  // Only the UDP ones.
  absl::StatusOr<node::ListenersOn> ListUdpListenersOn(Wanted wanted) const;
  // Only the TCP ones.
  absl::StatusOr<node::ListenersOn> ListTcpListenersOn(
      Wanted wanted, node::KeepListener keep = node::KeepAny) const;

 private:
  node::SocketStorage Storage() const;
  absl::Status AddEarlier(node::ListenersOn& found) const;

  int socket_owners_;
  int earlier_sockets_;
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_SOCKET_RECORDS_H_
