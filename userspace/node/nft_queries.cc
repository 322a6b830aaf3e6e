// SPDX-License-Identifier: Apache-2.0
#include "node/nft_queries.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"

namespace npg::node {
namespace {

// A question about one object in a table.
struct Question {
  uint16_t type;            // NFT_MSG_...
  uint16_t flags;           // NLM_F_DUMP, or 0
  uint8_t family;           // AF_INET or AF_INET6
  uint16_t name_attribute;  // of the object; the table's is 1 in every message
  absl::string_view table;
  absl::string_view name;
};

absl::Status Ask(const Question& question, absl::string_view what, absl::FunctionRef<void()> start,
                 absl::FunctionRef<void(const nlmsghdr& message)> visit) {
  alignas(nlmsghdr) std::array<char, 1024> buffer{};
  nlmsghdr* const message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | question.type);
  message->nlmsg_flags = question.flags;
  auto* const header =
      static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = question.family;
  header->version = NFNETLINK_V0;
  if (!mnl_attr_put_strz_check(message, buffer.size(), 1, std::string(question.table).c_str()) ||
      !mnl_attr_put_strz_check(message, buffer.size(), question.name_attribute,
                               std::string(question.name).c_str())) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": the name is too long"));
  }
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return base::Annotate(socket.status(), what);
  return base::NameCapability(socket->AskForEach(*message, what, start, visit));
}

}  // namespace

absl::string_view NftFamilyName(uint8_t family) {
  switch (family) {
    case NFPROTO_INET:
      return "inet";
    case NFPROTO_IPV4:
      return "ip";
    case NFPROTO_IPV6:
      return "ip6";
    case NFPROTO_ARP:
      return "arp";
    case NFPROTO_BRIDGE:
      return "bridge";
    case NFPROTO_NETDEV:
      return "netdev";
    default:
      return "family";
  }
}

absl::StatusOr<bool> HasChain(uint8_t family, absl::string_view table, absl::string_view chain) {
  const absl::Status status = Ask(
      {NFT_MSG_GETCHAIN, 0, family, NFTA_CHAIN_NAME, table, chain},
      absl::StrCat("look for chain ", chain, " in nftables table ", NftFamilyName(family), " ",
                   table),
      [] {}, [](const nlmsghdr& /*message*/) {});
  if (status.ok()) return true;
  // UNIMPLEMENTED: the family.
  if (absl::IsNotFound(status) || absl::IsUnimplemented(status)) return false;
  return status;
}

std::string MapText(uint8_t family, absl::string_view table, absl::string_view map) {
  return absl::StrCat("nftables map ", map, " of table ", NftFamilyName(family), " ", table);
}

absl::Status ListMap(uint8_t family, absl::string_view table, absl::string_view map,
                     absl::FunctionRef<void()> start,
                     absl::FunctionRef<void(const nlmsghdr& message)> visit) {
  return Ask({NFT_MSG_GETSETELEM, NLM_F_DUMP, family, NFTA_SET_ELEM_LIST_SET, table, map},
             absl::StrCat("read ", MapText(family, table, map)), start, visit);
}

}  // namespace npg::node
