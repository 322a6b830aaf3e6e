// SPDX-License-Identifier: Apache-2.0
#include "node/nft_tables.h"

#include <linux/netlink.h>

#include <array>
#include <cstdint>
#include <string>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/netlink_socket.h"
#include "base/nft_objects.h"
#include "node/nft_queries.h"

namespace npg::node {
namespace {

std::string TextOr(const char* text, const char* fallback) {
  return text == nullptr ? fallback : text;
}

absl::StatusOr<base::NetlinkMessages> ListAllTables(base::NetlinkSocket& socket) {
  std::array<char, 512> buffer{};
  nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETTABLE, NFPROTO_UNSPEC,
                                            NLM_F_REQUEST | NLM_F_DUMP, 0);
  absl::StatusOr<base::NetlinkMessages> answer = socket.Ask(*request, "list the nftables tables");
  // nfnetlink's word for a subsystem that it neither has nor can load.
  if (absl::IsInvalidArgument(answer.status())) {
    return absl::UnimplementedError("this kernel has no nf_tables");
  }
  return answer;
}

}  // namespace

std::string TableText(const NftTableId& table) {
  return absl::StrCat(NftFamilyName(table.first), " ", table.second);
}

absl::StatusOr<absl::btree_set<NftTableId>> ListNftTables(base::NetlinkSocket& socket) {
  const auto answer = ListAllTables(socket);
  if (!answer.ok()) return answer.status();
  absl::btree_set<NftTableId> tables;
  answer->ForEach([&tables](const nlmsghdr& message) {
    const base::NftnlTable table(nftnl_table_alloc());
    if (nftnl_table_nlmsg_parse(&message, table.get()) < 0) return;
    tables.emplace(static_cast<uint8_t>(nftnl_table_get_u32(table.get(), NFTNL_TABLE_FAMILY)),
                   TextOr(nftnl_table_get_str(table.get(), NFTNL_TABLE_NAME), ""));
  });
  return tables;
}

}  // namespace npg::node
