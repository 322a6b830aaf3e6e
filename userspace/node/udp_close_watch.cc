// SPDX-License-Identifier: Apache-2.0
#include "node/udp_close_watch.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "base/netlink_view.h"

namespace npg::node {
namespace {

// Of the port in a message, which is in network order; the filter loads it in host order.
constexpr uint32_t kPortOffset =
    NLMSG_HDRLEN + offsetof(inet_diag_msg, id) + offsetof(inet_diag_sockid, idiag_sport);
static_assert(kPortOffset == 20);

constexpr uint32_t kAcceptAll = UINT32_MAX;

// A classic BPF program that accepts messages about `ports`. A jump skips up to 255 instructions,
// so each block of ports has an instruction of its own that accepts. One instruction for each port
// keeps two programs (this and the former one) below net.core.optmem_max.
std::vector<sock_filter> FilterFor(const absl::btree_set<uint16_t>& ports) {
  constexpr size_t kBlock = 200;
  std::vector<sock_filter> program;
  program.push_back({BPF_LD | BPF_H | BPF_ABS, 0, 0, kPortOffset});
  for (auto at = ports.begin(); at != ports.end();) {
    auto left = std::min(kBlock, static_cast<size_t>(std::distance(at, ports.end())));
    for (; left > 0; --left, ++at) {
      // Skips the rest of the block, and the jump over its end.
      program.push_back({BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint8_t>(left), 0, *at});
    }
    program.push_back({BPF_JMP | BPF_JA, 0, 0, 1});
    program.push_back({BPF_RET | BPF_K, 0, 0, kAcceptAll});
  }
  program.push_back({BPF_RET | BPF_K, 0, 0, 0});
  return program;
}

}  // namespace

absl::StatusOr<std::unique_ptr<UdpCloseWatch>> UdpCloseWatch::Start(
    base::EventLoop& loop, std::function<void(uint16_t port)> closed) {
  base::NetlinkMonitor::Handler handler;
  handler.message = [closed](const nlmsghdr& message) {
    const auto diag = base::HeaderOf<inet_diag_msg>(base::ViewOf(message).payload);
    if (message.nlmsg_type != SOCK_DIAG_BY_FAMILY || !diag) return;
    // 0: it was never bound.
    if (diag->id.idiag_sport != 0) closed(ntohs(diag->id.idiag_sport));
  };
  handler.lost = [closed = std::move(closed)] { closed(0); };
  auto monitor = base::NetlinkMonitor::Start(loop, NETLINK_SOCK_DIAG,
                                             {SKNLGRP_INET_UDP_DESTROY, SKNLGRP_INET6_UDP_DESTROY},
                                             0, std::move(handler));
  if (!monitor.ok()) return monitor.status();
  return std::unique_ptr<UdpCloseWatch>(new UdpCloseWatch(*std::move(monitor)));
}

void UdpCloseWatch::Limit(const absl::btree_set<uint16_t>& ports) {
  const int fd = monitor_->fd();
  if (ports.size() <= kMaxPorts) {
    std::vector<sock_filter> program = FilterFor(ports);
    const sock_fprog filter{static_cast<uint16_t>(program.size()), program.data()};
    // Replaces the former one.
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) == 0) return;
  }
  const int ignored = 0;
  setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &ignored, sizeof(ignored));
}

}  // namespace npg::node
