// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_UDP_CLOSE_WATCH_H_
#define NODEPORT_GUARD_NODE_UDP_CLOSE_WATCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"

namespace npg::node {

// Told by the kernel of every UDP socket of this network namespace that is
// gone (the destroy groups of NETLINK_SOCK_DIAG, eb4cb008529c, since 4.3).
// While this lives, each such socket costs a message: to be had only as long as
// somebody wants to know. Needs CAP_NET_ADMIN.
class UdpCloseWatch {
 public:
  // Calls back with the port (host order) that the socket was bound to, 0 when it is not known:
  // messages were lost, or the kernel did not say.
  static absl::StatusOr<std::unique_ptr<UdpCloseWatch>> Start(
      base::EventLoop& loop, std::function<void(uint16_t port)> closed);
  ~UdpCloseWatch();
  UdpCloseWatch(const UdpCloseWatch&) = delete;
  UdpCloseWatch& operator=(const UdpCloseWatch&) = delete;

 private:
  UdpCloseWatch(base::EventLoop& loop, base::NetlinkSocket socket,
                std::function<void(uint16_t port)> closed)
      : loop_(loop), socket_(std::move(socket)), closed_(std::move(closed)) {}
  void OnReadable();

  base::EventLoop& loop_;
  base::NetlinkSocket socket_;
  std::function<void(uint16_t port)> closed_;
};

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_UDP_CLOSE_WATCH_H_
