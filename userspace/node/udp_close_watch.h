// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_UDP_CLOSE_WATCH_H_
#define NODEPORT_GUARD_NODE_UDP_CLOSE_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"

namespace npg::node {

// Reports the end of UDP sockets of this network namespace (the destroy groups of
// NETLINK_SOCK_DIAG, eb4cb008529c, since 4.3). Stops when it is destroyed; the loop outlives it.
class UdpCloseWatch {
 public:
  // The most ports that Limit() can select.
  static constexpr size_t kMaxPorts = 1000;

  // Calls back, on the loop, after a bound UDP socket was destroyed, with its port (host order); 0
  // when messages were lost. `closed` must not destroy the watch. Needs CAP_NET_ADMIN.
  static absl::StatusOr<std::unique_ptr<UdpCloseWatch>> Start(
      base::EventLoop& loop, std::function<void(uint16_t port)> closed);

  // Lets the kernel send only messages about these ports, in host order: without a limit each
  // socket of any process costs one. Sends all if there are more than kMaxPorts, or if the kernel
  // has no room for the filter. Messages that are queued stay.
  void Limit(const absl::btree_set<uint16_t>& ports);

 private:
  explicit UdpCloseWatch(std::unique_ptr<base::NetlinkMonitor> monitor)
      : monitor_(std::move(monitor)) {}

  const std::unique_ptr<base::NetlinkMonitor> monitor_;
};

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_UDP_CLOSE_WATCH_H_
