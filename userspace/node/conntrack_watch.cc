// SPDX-License-Identifier: Apache-2.0
#include "node/conntrack_watch.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "core/flow.h"

namespace npg::node {
namespace {

constexpr const char* kEventsSysctl = "/proc/sys/net/netfilter/nf_conntrack_events";
constexpr absl::string_view kModule = "nf_conntrack_netlink";

// Whether the kernel itself has functions of the module. Their names can be read also where
// kptr_restrict hides the addresses, and in a container, which has no /lib/modules of the node.
bool HasSymbol() {
  constexpr const char* kSymbols = "/proc/kallsyms";
  constexpr absl::string_view kFunction = " ctnetlink_get_conntrack";
  constexpr size_t kMostSymbols = size_t{64} << 20;
  const absl::StatusOr<base::UniqueFd> fd = base::OpenToRead(kSymbols);
  if (!fd.ok()) return false;
  std::string text;
  bool found = false;
  const auto take = [&](absl::string_view piece) {
    absl::StrAppend(&text, piece);
    const size_t end = text.rfind('\n');
    if (end == std::string::npos) return true;
    // The symbols of modules come last, with the module's name behind each.
    const absl::string_view lines = absl::string_view(text).substr(0, end);
    const size_t tag = lines.find("\t[");
    const size_t last = tag == absl::string_view::npos ? end : lines.rfind('\n', tag);
    found = last != absl::string_view::npos && absl::StrContains(lines.substr(0, last), kFunction);
    text.erase(0, end + 1);
    return !found && tag == absl::string_view::npos;
  };
  base::ReadPieces(fd->get(), kSymbols, kMostSymbols, take).IgnoreError();
  return found;
}

bool IsBuiltIn() {
  if (HasSymbol()) return true;
  utsname name{};
  if (uname(&name) != 0) return false;
  constexpr size_t kMost = size_t{4} << 20;
  const absl::StatusOr<std::string> list = base::ReadSmallFile(
      absl::StrCat("/lib/modules/", absl::string_view(name.release), "/modules.builtin"), kMost);
  return list.ok() && absl::StrContains(*list, absl::StrCat("/", kModule, ".ko"));
}

// To ask a subsystem that is not there makes the kernel load its module, which would stay, and
// change what `modprobe -r` and conntrack tools of the node see.
bool HasModule() {
  // A kernel that loads no modules has it or not.
  if (access("/proc/modules", F_OK) != 0) return true;
  if (access(absl::StrCat("/sys/module/", kModule).c_str(), F_OK) == 0) return true;
  static const bool built_in = IsBuiltIn();
  return built_in;
}

nlmsghdr* PutHeader(char* buffer, uint16_t type, uint16_t flags, uint8_t family) {
  nlmsghdr* const message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = static_cast<uint16_t>((NFNL_SUBSYS_CTNETLINK << 8) | type);
  message->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  auto* const header =
      static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = family;
  header->version = NFNETLINK_V0;
  return message;
}

// Asks for an entry that does not exist.
absl::Status CheckSubsystem(base::NetlinkSocket& socket) {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* const request = PutHeader(buffer.data(), IPCTNL_MSG_CT_GET, NLM_F_ACK, AF_INET);
  nlattr* const tuple = mnl_attr_nest_start(request, CTA_TUPLE_ORIG);
  nlattr* const addresses = mnl_attr_nest_start(request, CTA_TUPLE_IP);
  mnl_attr_put_u32(request, CTA_IP_V4_SRC, 0);
  mnl_attr_put_u32(request, CTA_IP_V4_DST, 0);
  mnl_attr_nest_end(request, addresses);
  nlattr* const protocol = mnl_attr_nest_start(request, CTA_TUPLE_PROTO);
  mnl_attr_put_u8(request, CTA_PROTO_NUM, IPPROTO_TCP);
  mnl_attr_put_u16(request, CTA_PROTO_SRC_PORT, 0);
  mnl_attr_put_u16(request, CTA_PROTO_DST_PORT, 0);
  mnl_attr_nest_end(request, protocol);
  mnl_attr_nest_end(request, tuple);
  absl::Status status = socket.Ask(*request, "ask for a conntrack entry").status();
  if (status.ok() || absl::IsNotFound(status)) return absl::OkStatus();
  // nfnetlink's word for a subsystem that it neither has nor can load.
  if (absl::IsInvalidArgument(status)) {
    return absl::UnimplementedError(
        "this kernel has no nf_conntrack_netlink (modprobe nf_conntrack_netlink)");
  }
  return base::NameCapability(status);
}

std::optional<uint16_t> Port(absl::string_view attributes, uint16_t type) {
  const std::optional<uint16_t> port =
      base::ValueOf<uint16_t>(base::FindAttribute(attributes, type));
  if (!port) return std::nullopt;
  return ntohs(*port);
}

// IPv4 v4-mapped.
std::optional<std::array<uint8_t, 16>> TupleAddress(absl::string_view attributes, uint16_t type,
                                                    bool v4) {
  const absl::string_view bytes = base::FindAttribute(attributes, type);
  std::array<uint8_t, 16> address{};
  const size_t size = v4 ? sizeof(in_addr) : sizeof(in6_addr);
  if (bytes.size() != size) return std::nullopt;
  if (v4) address[10] = address[11] = 0xff;
  std::memcpy(address.data() + address.size() - size, bytes.data(), size);
  return address;
}

std::optional<ConntrackEntry> ParseEntry(const nlmsghdr& message) {
  const base::NetlinkMessage view = base::ViewOf(message);
  if (view.type != ((NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW)) return std::nullopt;
  const std::optional<nfgenmsg> header = base::HeaderOf<nfgenmsg>(view.payload);
  if (!header) return std::nullopt;
  const absl::string_view attributes = base::AttributesBehind<nfgenmsg>(view.payload);
  const absl::string_view tuple = base::FindAttribute(attributes, CTA_TUPLE_ORIG);
  const absl::string_view transport = base::FindAttribute(tuple, CTA_TUPLE_PROTO);
  const auto protocol =
      base::ValueOf<uint8_t>(base::FindAttribute(transport, CTA_PROTO_NUM)).value_or(0);
  const bool v4 = header->nfgen_family == AF_INET;
  const absl::string_view ip = base::FindAttribute(tuple, CTA_TUPLE_IP);
  const auto source = TupleAddress(ip, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, v4);
  const auto destination = TupleAddress(ip, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, v4);
  const std::optional<uint16_t> from = Port(transport, CTA_PROTO_SRC_PORT);
  const std::optional<uint16_t> to = Port(transport, CTA_PROTO_DST_PORT);
  if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || !source || !destination || !from ||
      !to) {
    return std::nullopt;
  }
  ConntrackEntry entry;
  entry.flow = {protocol, *source, *destination, *from, *to};
  entry.v4 = v4;
  entry.tuple = std::string(tuple);
  entry.zone_attribute = std::string(base::FindAttribute(attributes, CTA_ZONE));
  entry.id = std::string(base::FindAttribute(attributes, CTA_ID));
  // A zone of one direction is in its tuple.
  entry.zone =
      Port(attributes, CTA_ZONE).value_or(Port(tuple, CTA_TUPLE_ZONE).value_or(uint16_t{0}));
  return entry;
}

}  // namespace

absl::StatusOr<ConntrackWatch> ConntrackWatch::Start(int queue_bytes) {
  if (!HasModule()) {
    return absl::UnimplementedError(
        absl::StrCat("the kernel module ", kModule, " is not loaded (modprobe ", kModule, ")"));
  }
  absl::StatusOr<base::NetlinkSocket> requests = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!requests.ok()) return requests.status();
  NPG_RETURN_IF_ERROR(CheckSubsystem(*requests));
  if (const auto setting = base::ReadSmallFile(kEventsSysctl, 16);
      setting.ok() && absl::string_view(*setting).substr(0, 1) == "0") {
    return absl::UnimplementedError("net.netfilter.nf_conntrack_events is 0");
  }
  absl::StatusOr<base::NetlinkSocket> events = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!events.ok()) return events.status();
  events->GrowQueue(queue_bytes);
  NPG_RETURN_IF_ERROR(events->Join(NFNLGRP_CONNTRACK_NEW));
  return ConntrackWatch(*std::move(events), *std::move(requests));
}

absl::StatusOr<ConntrackWatch::Entries> ConntrackWatch::Take() {
  // A node that makes flows faster than they are read must not keep this busy.
  constexpr int kMost = 20'000;
  Entries entries;
  for (int i = 0; i < kMost; ++i) {
    const absl::StatusOr<base::NetlinkSocket::Received> received =
        events_.Receive([&entries](const nlmsghdr& message) {
          if (std::optional<ConntrackEntry> entry = ParseEntry(message)) {
            entries.list.push_back(*std::move(entry));
          }
        });
    if (!received.ok()) return received.status();
    if (*received == base::NetlinkSocket::Received::kNothing) return entries;
    // What is in the queue is still to be had.
    if (*received == base::NetlinkSocket::Received::kOverrun) entries.whole = false;
  }
  entries.whole = false;
  return entries;
}

absl::Status ConntrackWatch::Remove(const ConntrackEntry& entry) {
  alignas(nlmsghdr) std::array<char, 1024> buffer{};
  nlmsghdr* const request =
      PutHeader(buffer.data(), IPCTNL_MSG_CT_DELETE, NLM_F_ACK, entry.v4 ? AF_INET : AF_INET6);
  if (!mnl_attr_put_check(request, buffer.size(), CTA_TUPLE_ORIG | NLA_F_NESTED, entry.tuple.size(),
                          entry.tuple.data()) ||
      (!entry.zone_attribute.empty() &&
       !mnl_attr_put_check(request, buffer.size(), CTA_ZONE, entry.zone_attribute.size(),
                           entry.zone_attribute.data())) ||
      (!entry.id.empty() &&
       !mnl_attr_put_check(request, buffer.size(), CTA_ID, entry.id.size(), entry.id.data()))) {
    return absl::InvalidArgumentError("remove a conntrack entry: it is too long");
  }
  return requests_.Ask(*request, "remove a conntrack entry").status();
}

}  // namespace npg::node
