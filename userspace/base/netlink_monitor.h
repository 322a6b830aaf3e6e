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

// Receives messages of netlink multicast groups, in the network namespace in which it was
// started, even if the thread moves to another. Stops when it is destroyed; the loop
// outlives it.
class NetlinkMonitor {
 public:
  // Called from the loop, if set. They must not destroy the monitor.
  struct Handler {
    std::function<void(const nlmsghdr& message)> message;
    std::function<void()> lost;  // messages were lost because the queue was full
    // After the others, once for all received messages. An error when reading failed.
    std::function<void(const absl::Status&)> settled;
  };

  // `protocol` is NETLINK_NETFILTER and the like. `queue_bytes`: see
  // NetlinkSocket::GrowQueue(); 0 keeps the default. PERMISSION_DENIED for a group that
  // needs a capability that the process lacks.
  static absl::StatusOr<std::unique_ptr<NetlinkMonitor>> Start(EventLoop& loop, int protocol,
                                                               const std::vector<int>& groups,
                                                               int queue_bytes, Handler handler);
  ~NetlinkMonitor();
  NetlinkMonitor(const NetlinkMonitor&) = delete;
  NetlinkMonitor& operator=(const NetlinkMonitor&) = delete;

  // For socket options. Stays the monitor's.
  int fd() const { return socket_.fd(); }

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
