// SPDX-License-Identifier: Apache-2.0
#include "node/node_addresses.h"

#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "core/listener.h"

namespace npg::node {
namespace {

// pkg/proxy/ipvs: the dummy interface with the addresses of Services.
constexpr const char* kIpvsInterface = "kube-ipvs0";

struct AddressRequest {
  nlmsghdr header;
  ifaddrmsg address;
};

// IPv4 v4-mapped; nullopt for what is neither IPv4 nor IPv6, or of another size.
std::optional<std::array<uint8_t, 16>> ToAddress(uint8_t family, absl::string_view bytes) {
  if (family == AF_INET6) return base::ValueOf<std::array<uint8_t, 16>>(bytes);
  if (family != AF_INET || bytes.size() != sizeof(in_addr)) return std::nullopt;
  std::array<uint8_t, 16> address{};
  address[10] = address[11] = 0xff;
  std::memcpy(&address[12], bytes.data(), bytes.size());
  return address;
}

// The address of an RTM_NEWADDR message, unless it is excluded.
std::optional<core::LocalAddress> ReadAddress(const base::NetlinkMessage& message) {
  const auto header = base::HeaderOf<ifaddrmsg>(message.payload);
  if (message.type != RTM_NEWADDR || !header) return std::nullopt;
  std::optional<std::array<uint8_t, 16>> local, address;
  absl::string_view rest = base::AttributesBehind<ifaddrmsg>(message.payload);
  for (base::NetlinkAttribute attribute; base::NextAttribute(rest, attribute);) {
    // On a point-to-point link IFA_ADDRESS is the peer's.
    if (attribute.type == IFA_LOCAL) local = ToAddress(header->ifa_family, attribute.payload);
    if (attribute.type == IFA_ADDRESS) address = ToAddress(header->ifa_family, attribute.payload);
  }
  if (!local) local = address;
  if (!local || core::IsLoopback(*local)) return std::nullopt;
  in6_addr v6{};
  std::memcpy(&v6, local->data(), local->size());
  if (IN6_IS_ADDR_LINKLOCAL(&v6)) return std::nullopt;
  return core::LocalAddress{*local, header->ifa_index};
}

}  // namespace

absl::StatusOr<std::vector<core::LocalAddress>> ListNodeAddresses() {
  auto netlink = base::NetlinkSocket::Open(NETLINK_ROUTE);
  if (!netlink.ok()) return netlink.status();
  AddressRequest request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.address.ifa_family = AF_UNSPEC;
  const auto answer = netlink->Ask(request.header, "list the node's addresses");
  if (!answer.ok()) return answer.status();
  const uint32_t ipvs = if_nametoindex(kIpvsInterface);  // 0: there is none
  std::vector<core::LocalAddress> addresses;
  answer->ForEach([&](const nlmsghdr& message) {
    const std::optional<core::LocalAddress> address = ReadAddress(base::ViewOf(message));
    if (address && (ipvs == 0 || address->ifindex != ipvs)) addresses.push_back(*address);
  });
  std::sort(addresses.begin(), addresses.end());
  return addresses;
}

core::AddressSet ToSet(const std::vector<core::LocalAddress>& addresses) {
  core::AddressSet set;
  for (const core::LocalAddress& local : addresses) set.insert(local.address);
  return set;
}

absl::StatusOr<std::unique_ptr<base::NetlinkMonitor>> WatchAddresses(
    base::EventLoop& loop, std::function<void()> changed) {
  // Every message causes a new list, so that lost ones do no harm.
  base::NetlinkMonitor::Handler handler;
  handler.settled = [changed = std::move(changed)](const absl::Status& /*status*/) { changed(); };
  return base::NetlinkMonitor::Start(
      loop, NETLINK_ROUTE, {RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR}, 0, std::move(handler));
}

}  // namespace npg::node
