// SPDX-License-Identifier: Apache-2.0
#include "node/udp_close_watch.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "base/netlink_view.h"

namespace npg::node {

absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>> WatchUdpCloses(
    base::EventLoop& loop, std::function<void(uint16_t port)> closed) {
  base::NetlinkMonitor::Handler handler;
  handler.message = [closed](const nlmsghdr& message) {
    const auto diag = base::HeaderOf<inet_diag_msg>(base::ViewOf(message).payload);
    if (message.nlmsg_type == SOCK_DIAG_BY_FAMILY && diag) closed(ntohs(diag->id.idiag_sport));
  };
  handler.lost = [closed = std::move(closed)] { closed(0); };
  return base::NetlinkMonitor::Start(loop, NETLINK_SOCK_DIAG,
                                     {SKNLGRP_INET_UDP_DESTROY, SKNLGRP_INET6_UDP_DESTROY}, 0,
                                     std::move(handler));
}

}  // namespace npg::node
