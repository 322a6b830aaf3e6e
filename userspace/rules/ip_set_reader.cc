// SPDX-License-Identifier: Apache-2.0
#include "rules/ip_set_reader.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "base/unique_fd.h"
#include "rules/ip_set_decoder.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

// Kernels before 4.20 accept only version 6 of the protocol; later ones accept it for lists and
// socket options. IPSET_CMD_GET_BYINDEX came with version 7.
constexpr uint8_t kIpSetOldProtocol = 6;
constexpr uint8_t kIpSetIndexProtocol = 7;

using IpSetBuffer = std::array<char, 256>;

nlmsghdr* BeginIpSetRequest(IpSetBuffer& buffer, uint16_t command, uint16_t flags,
                            uint8_t protocol) {
  nlmsghdr* const request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = static_cast<uint16_t>((NFNL_SUBSYS_IPSET << 8) | command);
  request->nlmsg_flags = flags;
  auto* const header =
      static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(nfgenmsg)));
  header->nfgen_family = AF_INET;
  header->version = NFNETLINK_V0;
  mnl_attr_put_u8(request, IPSET_ATTR_PROTOCOL, protocol);
  return request;
}

std::string IpSetText(const std::string& name) { return absl::StrCat("read the ipset ", name); }

// The set does not exist, or this kernel has no ipset.
bool IsNoIpSet(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsInvalidArgument(status);
}

// For kernels without IPSET_CMD_GET_BYINDEX. Empty: no such set.
absl::StatusOr<std::string> AskIpSetOption(uint16_t index, absl::string_view what) {
  const base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return base::ErrnoStatus(errno, what);
  ip_set_req_get_set request{};
  request.op = IP_SET_OP_GET_BYINDEX;
  request.version = kIpSetOldProtocol;
  request.set.index = index;
  socklen_t size = sizeof(request);
  if (getsockopt(fd.get(), SOL_IP, SO_IP_SET, &request, &size) != 0) {
    if (errno == ENOPROTOOPT || errno == ENOENT) return "";
    return base::ErrnoStatus(errno, what);
  }
  const auto& name = request.set.name;
  return std::string(std::begin(name), std::find(std::begin(name), std::end(name), '\0'));
}

absl::StatusOr<std::string> NameOfIpSet(base::NetlinkSocket& socket, uint16_t index,
                                        absl::string_view what) {
  alignas(nlmsghdr) IpSetBuffer buffer{};
  nlmsghdr* const request =
      BeginIpSetRequest(buffer, IPSET_CMD_GET_BYINDEX, 0, kIpSetIndexProtocol);
  mnl_attr_put_u16(request, IPSET_ATTR_INDEX | NLA_F_NET_BYTEORDER, htons(index));
  std::string name;
  const absl::Status status = socket.AskForEach(
      *request, what, [&name] { name.clear(); },
      [&name](const nlmsghdr& message) {
        name = std::string(base::TextOf(base::FindAttribute(
            base::AttributesBehind<nfgenmsg>(base::ViewOf(message).payload), IPSET_ATTR_SETNAME)));
      });
  if (absl::IsNotFound(status)) return "";
  if (absl::IsPermissionDenied(status)) return status;
  // An old kernel refuses the protocol's version or the command, with errors of several kinds.
  if (!status.ok()) return AskIpSetOption(index, what);
  return name;
}

// A set that does not exist leaves `decoder` empty.
absl::Status ListIpSet(base::NetlinkSocket& socket, const std::string& name, absl::string_view what,
                       IpSetDecoder& decoder) {
  if (name.size() >= IPSET_MAXNAMELEN) return absl::OkStatus();
  alignas(nlmsghdr) IpSetBuffer buffer{};
  nlmsghdr* const request =
      BeginIpSetRequest(buffer, IPSET_CMD_LIST, NLM_F_DUMP, kIpSetOldProtocol);
  mnl_attr_put_strz(request, IPSET_ATTR_SETNAME, name.c_str());
  absl::Status status = socket.AskForEach(
      *request, what, [&decoder] { decoder = IpSetDecoder(); },
      [&decoder](const nlmsghdr& message) { decoder.Add(base::ViewOf(message)); });
  if (IsNoIpSet(status)) {
    decoder = IpSetDecoder();
    return absl::OkStatus();
  }
  return status;
}

// Adds the elements of `member` to `whole`, the union so far.
void UniteIpSets(Set& whole, Set member) {
  whole.chance |= member.chance;
  if (whole.unknown.empty()) whole.unknown = std::move(member.unknown);
  if (member.elements.empty()) return;
  if (whole.elements.empty()) {
    whole.parts = std::move(member.parts);
  } else if (whole.parts != member.parts) {
    whole.unknown = "ipset of the type list:set with sets of several types";
  }
  whole.elements.insert(whole.elements.end(), std::make_move_iterator(member.elements.begin()),
                        std::make_move_iterator(member.elements.end()));
}

absl::StatusOr<Set> ReadNamedIpSet(base::NetlinkSocket& socket, const std::string& name,
                                   absl::string_view what) {
  IpSetDecoder decoder;
  NPG_RETURN_IF_ERROR(ListIpSet(socket, name, what, decoder));
  const bool is_list = decoder.is_list();
  const std::vector<std::string> members = decoder.members();
  Set set = std::move(decoder).Take();
  if (!is_list) return set;
  for (const std::string& member : members) {
    IpSetDecoder of_member;
    NPG_RETURN_IF_ERROR(ListIpSet(socket, member, what, of_member));
    // A set of sets has no such member.
    if (of_member.is_list()) continue;
    UniteIpSets(set, std::move(of_member).Take());
  }
  if (!set.unknown.empty()) set.elements.clear();
  return set;
}

}  // namespace

absl::StatusOr<Set> ReadIpSet(base::NetlinkSocket& socket, const std::string& name) {
  const std::string what = IpSetText(name);
  absl::string_view digits = name;
  // A set may also have a name like this.
  if (uint32_t index = 0; absl::ConsumePrefix(&digits, "#") && absl::SimpleAtoi(digits, &index) &&
                          index < IPSET_INVALID_ID) {
    const absl::StatusOr<std::string> found =
        NameOfIpSet(socket, static_cast<uint16_t>(index), what);
    if (!found.ok()) return base::NameCapability(found.status());
    if (found->empty()) return Set{};
    absl::StatusOr<Set> set = ReadNamedIpSet(socket, *found, what);
    if (!set.ok()) return base::NameCapability(set.status());
    return set;
  }
  absl::StatusOr<Set> set = ReadNamedIpSet(socket, name, what);
  if (!set.ok()) return base::NameCapability(set.status());
  return set;
}

}  // namespace npg::rules
