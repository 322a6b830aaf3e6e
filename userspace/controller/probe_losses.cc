// SPDX-License-Identifier: Apache-2.0
#include "controller/probe_losses.h"

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"

namespace npg::controller {

bool LostPackets(int fd) {
  std::array<uint32_t, SK_MEMINFO_VARS> info{};
  socklen_t size = sizeof(info);
  return getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info.data(), &size) == 0 &&
         info[SK_MEMINFO_DROPS] > 0;
}

std::optional<uint64_t> LoopbackDrops() {
  constexpr int kLoopback = 1;  // its index in each network namespace
  struct {
    nlmsghdr header{};
    ifinfomsg link{};
  } request;
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETLINK;
  request.link.ifi_index = kLoopback;
  absl::StatusOr<base::NetlinkSocket> netlink = base::NetlinkSocket::Open(NETLINK_ROUTE);
  if (!netlink.ok()) return std::nullopt;
  const absl::StatusOr<base::NetlinkMessages> answer =
      netlink->Ask(request.header, "read the statistics of lo");
  if (!answer.ok()) return std::nullopt;
  std::optional<uint64_t> drops;
  answer->ForEach([&drops](const nlmsghdr& message) {
    const absl::string_view statistics = base::FindAttribute(
        base::AttributesBehind<ifinfomsg>(base::ViewOf(message).payload), IFLA_STATS64);
    constexpr size_t kOffset = offsetof(rtnl_link_stats64, rx_dropped);
    uint64_t value = 0;
    if (statistics.size() < kOffset + sizeof(value)) return;
    std::memcpy(&value, statistics.data() + kOffset, sizeof(value));
    drops = value;
  });
  return drops;
}

}  // namespace npg::controller
