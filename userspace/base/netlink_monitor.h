// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_NETLINK_MONITOR_H_
#define NODEPORT_GUARD_BASE_NETLINK_MONITOR_H_

#include <linux/netlink.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"

namespace npg::base {

// Receives what the kernel sends to multicast groups of netlink, in the network
// namespace in which it was started, wherever the thread moves. Stops when it is
// destroyed; the loop outlives it.
class NetlinkMonitor {
 public:
  // Called from the loop. They must not destroy the monitor. Those that are not set are
  // not called.
  struct Handler {
    std::function<void(const nlmsghdr& message)> message;
    std::function<void()> lost;  // messages were lost: more came than the queue could hold
    // After the others, once for all that was there. An error when no more could be read.
    std::function<void(const absl::Status&)> settled;
  };

  // `protocol` is NETLINK_NETFILTER and the like. `queue_bytes`: see
  // NetlinkSocket::GrowQueue(); 0 leaves it as it is. PERMISSION_DENIED for a
  // group that takes a capability the process lacks.
  static absl::StatusOr<std::unique_ptr<NetlinkMonitor>> Start(EventLoop& loop, int protocol,
                                                               const std::vector<int>& groups,
                                                               int queue_bytes, Handler handler);
  ~NetlinkMonitor();
  NetlinkMonitor(const NetlinkMonitor&) = delete;
  NetlinkMonitor& operator=(const NetlinkMonitor&) = delete;

 private:
  NetlinkMonitor(EventLoop& loop, NetlinkSocket socket, Handler handler)
      : loop_(loop), socket_(std::move(socket)), handler_(std::move(handler)) {}
  void OnReadable();
  absl::Status ReceiveSome();

  EventLoop& loop_;
  NetlinkSocket socket_;
  const Handler handler_;
};

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_NETLINK_MONITOR_H_
