// SPDX-License-Identifier: Apache-2.0
#include "node/udp_close_watch.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/epoll.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"

namespace npg::node {

absl::StatusOr<std::unique_ptr<UdpCloseWatch>> UdpCloseWatch::Start(
    base::EventLoop& loop, std::function<void(uint16_t port)> closed) {
  auto socket = base::NetlinkSocket::Open(NETLINK_SOCK_DIAG);
  if (!socket.ok()) return socket.status();
  for (const int group : {SKNLGRP_INET_UDP_DESTROY, SKNLGRP_INET6_UDP_DESTROY}) {
    NPG_RETURN_IF_ERROR(socket->Join(group));
  }
  std::unique_ptr<UdpCloseWatch> watch(
      new UdpCloseWatch(loop, *std::move(socket), std::move(closed)));
  NPG_RETURN_IF_ERROR(loop.AddFd(watch->socket_.fd(), EPOLLIN,
                                 [told = watch.get()](uint32_t) { told->OnReadable(); }));
  return watch;
}

UdpCloseWatch::~UdpCloseWatch() { loop_.RemoveFd(socket_.fd()); }

void UdpCloseWatch::OnReadable() {
  // Bounded, so that a node that closes sockets all the time leaves time for
  // the rest; the loop comes back for more.
  constexpr int kMost = 256;
  for (int i = 0; i < kMost; ++i) {
    const auto received = socket_.Receive([this](const nlmsghdr& message) {
      inet_diag_msg diag{};
      if (message.nlmsg_type != SOCK_DIAG_BY_FAMILY ||
          message.nlmsg_len < NLMSG_LENGTH(sizeof(diag))) {
        return;
      }
      std::memcpy(&diag, reinterpret_cast<const uint8_t*>(&message) + NLMSG_HDRLEN, sizeof(diag));
      closed_(ntohs(diag.id.idiag_sport));
    });
    if (!received.ok() || *received == base::NetlinkSocket::Received::kNothing) return;
    if (*received == base::NetlinkSocket::Received::kOverrun) closed_(0);
  }
}

}  // namespace npg::node
