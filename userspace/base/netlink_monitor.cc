// SPDX-License-Identifier: Apache-2.0
#include "base/netlink_monitor.h"

#include <linux/netlink.h>
#include <sys/epoll.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"

namespace npg::base {

absl::StatusOr<std::unique_ptr<NetlinkMonitor>> NetlinkMonitor::Start(
    EventLoop& loop, int protocol, const std::vector<int>& groups, int queue_bytes,
    Handler handler) {
  absl::StatusOr<NetlinkSocket> socket = NetlinkSocket::Open(protocol);
  if (!socket.ok()) return socket.status();
  if (queue_bytes != 0) socket->GrowQueue(queue_bytes);
  for (const int group : groups) NPG_RETURN_IF_ERROR(socket->Join(group));
  std::unique_ptr<NetlinkMonitor> monitor(
      new NetlinkMonitor(loop, *std::move(socket), std::move(handler)));
  NPG_RETURN_IF_ERROR(loop.AddFd(monitor->socket_.fd(), EPOLLIN,
                                 [raw = monitor.get()](uint32_t) { raw->OnReadable(); }));
  return monitor;
}

NetlinkMonitor::~NetlinkMonitor() { loop_.RemoveFd(socket_.fd()); }

void NetlinkMonitor::OnReadable() {
  const absl::Status status = ReceiveSome();
  if (handler_.settled) handler_.settled(status);
}

absl::Status NetlinkMonitor::ReceiveSome() {
  // Bounded, so that many messages do not block other callbacks; the loop calls this again
  // for the rest.
  constexpr int kMaxReceives = 256;
  for (int i = 0; i < kMaxReceives; ++i) {
    const absl::StatusOr<NetlinkSocket::Received> received =
        socket_.Receive([this](const nlmsghdr& message) {
          if (handler_.message) handler_.message(message);
        });
    if (!received.ok()) return received.status();
    if (*received == NetlinkSocket::Received::kNothing) break;
    if (*received == NetlinkSocket::Received::kOverrun && handler_.lost) handler_.lost();
  }
  return absl::OkStatus();
}

}  // namespace npg::base
