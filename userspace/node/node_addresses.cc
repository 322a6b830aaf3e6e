// SPDX-License-Identifier: Apache-2.0
#include "node/node_addresses.h"

#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"
#include "core/listener.h"

namespace npg::node {
namespace {

// pkg/proxy/ipvs: the dummy interface that is given the addresses of Services.
constexpr const char* kIpvsInterface = "kube-ipvs0";

struct Request {
  nlmsghdr header;
  ifaddrmsg address;
};

// IPv4 v4-mapped; nullopt for what is neither IPv4 nor IPv6, or too short.
std::optional<std::array<uint8_t, 16>> ToAddress(uint8_t family, const uint8_t* bytes,
                                                 size_t size) {
  std::array<uint8_t, 16> address{};
  if (family == AF_INET && size == sizeof(in_addr)) {
    address[10] = address[11] = 0xff;
    std::memcpy(&address[12], bytes, size);
    return address;
  }
  if (family != AF_INET6 || size != address.size()) return std::nullopt;
  std::memcpy(address.data(), bytes, size);
  return address;
}

// The address of one RTM_NEWADDR message, if it has one that counts.
std::optional<core::LocalAddress> ReadAddress(const nlmsghdr& message) {
  if (message.nlmsg_type != RTM_NEWADDR || message.nlmsg_len < NLMSG_LENGTH(sizeof(ifaddrmsg))) {
    return std::nullopt;
  }
  const auto* bytes = reinterpret_cast<const uint8_t*>(&message);
  ifaddrmsg header{};
  std::memcpy(&header, bytes + NLMSG_HDRLEN, sizeof(header));
  std::optional<std::array<uint8_t, 16>> local, address;
  size_t offset = NLMSG_SPACE(sizeof(ifaddrmsg));
  while (offset < message.nlmsg_len && message.nlmsg_len - offset >= sizeof(rtattr)) {
    rtattr attribute{};
    std::memcpy(&attribute, bytes + offset, sizeof(attribute));
    if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > message.nlmsg_len - offset) {
      break;
    }
    const size_t size = attribute.rta_len - RTA_LENGTH(0);
    const uint8_t* value = bytes + offset + RTA_LENGTH(0);
    // On a point-to-point link IFA_ADDRESS is the peer's.
    if (attribute.rta_type == IFA_LOCAL) local = ToAddress(header.ifa_family, value, size);
    if (attribute.rta_type == IFA_ADDRESS) address = ToAddress(header.ifa_family, value, size);
    offset += RTA_ALIGN(attribute.rta_len);
  }
  if (!local) local = address;
  if (!local || core::IsLoopback(*local)) return std::nullopt;
  in6_addr v6{};
  std::memcpy(&v6, local->data(), local->size());
  if (IN6_IS_ADDR_LINKLOCAL(&v6)) return std::nullopt;
  return core::LocalAddress{*local, header.ifa_index};
}

}  // namespace

absl::StatusOr<std::vector<core::LocalAddress>> ListNodeAddresses() {
  auto netlink = base::NetlinkSocket::Open(NETLINK_ROUTE);
  if (!netlink.ok()) return netlink.status();
  Request request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.address.ifa_family = AF_UNSPEC;
  const auto answer = netlink->Ask(request.header, "list the node's addresses");
  if (!answer.ok()) return answer.status();
  const uint32_t ipvs = if_nametoindex(kIpvsInterface);  // 0: there is none
  std::vector<core::LocalAddress> addresses;
  answer->ForEach([&](const nlmsghdr& message) {
    const std::optional<core::LocalAddress> address = ReadAddress(message);
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

absl::StatusOr<std::unique_ptr<AddressWatch>> AddressWatch::Start(base::EventLoop& loop,
                                                                  std::function<void()> changed) {
  auto socket = base::NetlinkSocket::Open(NETLINK_ROUTE);
  if (!socket.ok()) return socket.status();
  for (const int group : {RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR}) {
    NPG_RETURN_IF_ERROR(socket->Join(group));
  }
  std::unique_ptr<AddressWatch> watch(
      new AddressWatch(loop, *std::move(socket), std::move(changed)));
  NPG_RETURN_IF_ERROR(loop.AddFd(watch->socket_.fd(), EPOLLIN,
                                 [told = watch.get()](uint32_t) { told->OnReadable(); }));
  return watch;
}

AddressWatch::~AddressWatch() { loop_.RemoveFd(socket_.fd()); }

void AddressWatch::OnReadable() {
  // What changed is found by listing; that messages were lost changes nothing.
  for (;;) {
    const auto received = socket_.Receive([](const nlmsghdr&) {});
    if (!received.ok() || *received == base::NetlinkSocket::Received::kNothing) break;
  }
  changed_();
}

}  // namespace npg::node
