// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_UDP_CLOSE_WATCH_H_
#define NODEPORT_GUARD_NODE_UDP_CLOSE_WATCH_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"

namespace npg::node {

// Calls back, on the loop, after a UDP socket of this network namespace was destroyed (the
// destroy groups of NETLINK_SOCK_DIAG, eb4cb008529c, since 4.3), with the port (host order)
// that it was bound to; 0 when that is unknown, because messages were lost or lacked it.
// Each such socket costs a message: keep the monitor only while it is needed. Needs
// CAP_NET_ADMIN.
absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>> WatchUdpCloses(
    base::EventLoop& loop, std::function<void(uint16_t port)> closed);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_UDP_CLOSE_WATCH_H_
