// SPDX-License-Identifier: Apache-2.0
#include "node/node_addresses.h"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "core/listener.h"
#include "core/node_address.h"

namespace npg::node {
namespace {

struct AddressRequest {
  nlmsghdr header;
  ifaddrmsg address;
};

struct LinkRequest {
  nlmsghdr header;
  ifinfomsg link;
  rtattr mask_header;
  uint32_t mask;  // RTEXT_FILTER_...
};

struct Link {
  std::string name;
  std::string kind;  // IFLA_INFO_KIND; hardware and lo have none
  bool loopback = false;
};
using Links = absl::flat_hash_map<uint32_t, Link>;  // by ifindex

// IPv4 v4-mapped; nullopt for what is neither IPv4 nor IPv6, or of another size.
std::optional<std::array<uint8_t, 16>> ToAddress(uint8_t family, absl::string_view bytes) {
  if (family == AF_INET6) return base::ValueOf<std::array<uint8_t, 16>>(bytes);
  if (family != AF_INET || bytes.size() != sizeof(in_addr)) return std::nullopt;
  std::array<uint8_t, 16> address{};
  address[10] = address[11] = 0xff;
  std::memcpy(&address[12], bytes.data(), bytes.size());
  return address;
}

// The address of an RTM_NEWADDR message, without what its interface has; nullopt for loopback.
std::optional<core::NodeAddress> ReadAddress(const base::NetlinkMessage& message) {
  const auto header = base::HeaderOf<ifaddrmsg>(message.payload);
  if (message.type != RTM_NEWADDR || !header) return std::nullopt;
  std::optional<std::array<uint8_t, 16>> local, address;
  uint32_t flags = header->ifa_flags;
  absl::string_view rest = base::AttributesBehind<ifaddrmsg>(message.payload);
  for (base::NetlinkAttribute attribute; base::NextAttribute(rest, attribute);) {
    // On a point-to-point link IFA_ADDRESS is the peer's.
    if (attribute.type == IFA_LOCAL) local = ToAddress(header->ifa_family, attribute.payload);
    if (attribute.type == IFA_ADDRESS) address = ToAddress(header->ifa_family, attribute.payload);
    if (attribute.type == IFA_FLAGS) {
      flags = base::ValueOf<uint32_t>(attribute.payload).value_or(flags);
    }
  }
  if (!local) local = address;
  if (!local || core::IsLoopback(*local)) return std::nullopt;
  core::NodeAddress read;
  read.address = *local;
  read.prefix = header->ifa_prefixlen;
  read.deprecated = (flags & IFA_F_DEPRECATED) != 0;
  read.tentative =
      (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) != 0 && (flags & IFA_F_OPTIMISTIC) == 0;
  read.ifindex = header->ifa_index;
  return read;
}

void ReadLink(const base::NetlinkMessage& message, Links& links) {
  const auto header = base::HeaderOf<ifinfomsg>(message.payload);
  if (message.type != RTM_NEWLINK || !header) return;
  const absl::string_view attributes = base::AttributesBehind<ifinfomsg>(message.payload);
  Link& link = links[static_cast<uint32_t>(header->ifi_index)];
  link.name = std::string(base::TextOf(base::FindAttribute(attributes, IFLA_IFNAME)));
  link.kind = std::string(base::TextOf(
      base::FindAttribute(base::FindAttribute(attributes, IFLA_LINKINFO), IFLA_INFO_KIND)));
  link.loopback = (header->ifi_flags & IFF_LOOPBACK) != 0;
}

absl::StatusOr<Links> ListLinks(base::NetlinkSocket& netlink) {
  LinkRequest request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.link.ifi_family = AF_UNSPEC;
  request.mask_header.rta_len = RTA_LENGTH(sizeof(request.mask));
  request.mask_header.rta_type = IFLA_EXT_MASK;
  request.mask = RTEXT_FILTER_SKIP_STATS;
  const auto answer = netlink.Ask(request.header, "list the node's interfaces");
  if (!answer.ok()) return answer.status();
  Links links;
  answer->ForEach([&](const nlmsghdr& message) { ReadLink(base::ViewOf(message), links); });
  return links;
}

}  // namespace

absl::StatusOr<std::vector<core::NodeAddress>> ListNodeAddresses() {
  auto netlink = base::NetlinkSocket::Open(NETLINK_ROUTE);
  if (!netlink.ok()) return netlink.status();
  AddressRequest request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = RTM_GETADDR;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.address.ifa_family = AF_UNSPEC;
  const auto answer = netlink->Ask(request.header, "list the node's addresses");
  if (!answer.ok()) return answer.status();
  // After the addresses: an interface that is not listed is gone, not new.
  const absl::StatusOr<Links> links = ListLinks(*netlink);
  if (!links.ok()) return links.status();
  std::vector<core::NodeAddress> addresses;
  answer->ForEach([&](const nlmsghdr& message) {
    std::optional<core::NodeAddress> address = ReadAddress(base::ViewOf(message));
    if (!address) return;
    if (const auto link = links->find(address->ifindex); link != links->end()) {
      address->interface = link->second.name;
      address->kind = link->second.kind;
      address->loopback = link->second.loopback;
    }
    addresses.push_back(*std::move(address));
  });
  return addresses;
}

core::AddressSet ToSet(const std::vector<core::NodeAddress>& addresses) {
  core::AddressSet set;
  for (const core::NodeAddress& address : addresses) set.insert(address.address);
  return set;
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
