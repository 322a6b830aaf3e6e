// SPDX-License-Identifier: Apache-2.0
#include "rules/nft_reader.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "base/nft_generation.h"
#include "rules/ip_set_reader.h"
#include "rules/nft_rule_decoder.h"
#include "rules/nft_set_decoder.h"
#include "rules/rule.h"
#include "rules/rule_set.h"

namespace npg::rules {
namespace {

// All requests about an object in a table name the two by attributes 1 and 2.
constexpr uint16_t kNftTableAttribute = 1;
constexpr uint16_t kNftNameAttribute = 2;
static_assert(int{NFTA_RULE_TABLE} == kNftTableAttribute &&
              int{NFTA_SET_TABLE} == kNftTableAttribute &&
              int{NFTA_SET_ELEM_LIST_TABLE} == kNftTableAttribute);
static_assert(int{NFTA_RULE_CHAIN} == kNftNameAttribute &&
              int{NFTA_SET_NAME} == kNftNameAttribute &&
              int{NFTA_SET_ELEM_LIST_SET} == kNftNameAttribute);

// nfnetlink's error for a subsystem that it neither has nor can load.
bool IsNoNfTables(const absl::Status& status) { return absl::IsInvalidArgument(status); }

// The status of a request that was made without a text: its message begins with ": ".
absl::Status NftReaderError(const absl::Status& status, absl::string_view what) {
  return base::NameCapability({status.code(), absl::StrCat(what, status.message())});
}

// Kernels before 4.9 return the rules of all chains of the family.
bool IsRuleOf(const base::NetlinkMessage& message, const ChainName& chain) {
  if (message.type != ((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWRULE)) return false;
  const absl::string_view attributes = base::ParseNftMessage(message.payload).attributes;
  return base::TextOf(base::FindAttribute(attributes, NFTA_RULE_CHAIN)) == chain.name &&
         base::TextOf(base::FindAttribute(attributes, NFTA_RULE_TABLE)) == chain.table.name;
}

}  // namespace

absl::StatusOr<NftReader> NftReader::Open(std::string own_table) {
  absl::StatusOr<base::NetlinkSocket> socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
  if (!socket.ok()) return socket.status();
  NftReader reader(*std::move(socket), std::move(own_table));
  // The kernel checks the capability with the first request.
  const absl::StatusOr<uint32_t> generation = reader.Generation();
  if (!generation.ok()) return generation.status();
  return reader;
}

nlmsghdr* NftReader::Request(uint16_t type, uint16_t flags, const TableId& table,
                             const std::string& name) {
  nlmsghdr* const message = mnl_nlmsg_put_header(buffer_.data());
  message->nlmsg_type = static_cast<uint16_t>((NFNL_SUBSYS_NFTABLES << 8) | type);
  message->nlmsg_flags = flags;
  auto* const header =
      static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = table.family;
  header->version = NFNETLINK_V0;
  if (table.name.empty()) return message;
  const bool fits =
      mnl_attr_put_strz_check(message, buffer_.size(), kNftTableAttribute, table.name.c_str()) &&
      mnl_attr_put_strz_check(message, buffer_.size(), kNftNameAttribute, name.c_str());
  return fits ? message : nullptr;
}

absl::Status NftReader::ReadBaseChains(RuleSet& rules) {
  // The kernel shows the hooks of dormant tables, too, although it does not call them.
  std::vector<TableId> dormant;
  absl::Status status = socket_.AskForEach(
      *Request(NFT_MSG_GETTABLE, NLM_F_DUMP, {}, ""), "list the nft tables",
      [&dormant] { dormant.clear(); },
      [&dormant](const nlmsghdr& message) {
        std::optional<TableId> table = DecodeDormantTable(base::ViewOf(message));
        if (table.has_value()) dormant.push_back(*std::move(table));
      });
  if (!status.ok() && !IsNoNfTables(status)) return base::NameCapability(status);
  std::vector<BaseChain> bases;
  nlmsghdr* const request = Request(NFT_MSG_GETCHAIN, NLM_F_DUMP, {}, "");
  status = socket_.AskForEach(
      *request, "list the nft chains", [&bases] { bases.clear(); },
      [&](const nlmsghdr& message) {
        std::optional<BaseChain> base = DecodeBaseChain(base::ViewOf(message));
        if (!base.has_value()) return;
        const TableId& table = base->chain.table;
        if (table.family == NFPROTO_INET && table.name == own_table_) return;
        if (std::find(dormant.begin(), dormant.end(), table) != dormant.end()) return;
        bases.push_back(*std::move(base));
      });
  if (!status.ok() && !IsNoNfTables(status)) return base::NameCapability(status);
  rules.SetBaseChains(Engine::kNfTables, std::move(bases));
  return absl::OkStatus();
}

absl::Status NftReader::ReadChain(const ChainName& chain, RuleSet& rules) {
  nlmsghdr* const request = Request(NFT_MSG_GETRULE, NLM_F_DUMP, chain.table, chain.name);
  if (request == nullptr) {
    rules.BeginChain(chain);
    return absl::OkStatus();
  }
  const absl::Status status = socket_.AskForEach(
      *request, "", [&] { rules.BeginChain(chain); },
      [&](const nlmsghdr& header) {
        const base::NetlinkMessage message = base::ViewOf(header);
        if (!IsRuleOf(message, chain)) return;
        const std::optional<NftRule> rule = DecodeNftRuleOfChain(message);
        if (rule.has_value()) rules.Append(chain, rule->rule);
      });
  if (status.ok()) return absl::OkStatus();
  // What a failed reading has left is not the chain.
  rules.ForgetChain(chain);
  if (absl::IsNotFound(status) || IsNoNfTables(status)) {
    rules.BeginChain(chain);
    return absl::OkStatus();
  }
  return NftReaderError(status, absl::StrCat("read the rules of ", ToString(chain)));
}

absl::StatusOr<Set> NftReader::ReadNftSet(const TableId& table, const std::string& name) {
  const auto what = [&] { return absl::StrCat("read the set ", name, " of ", ToString(table)); };
  const auto missing = [](const absl::Status& status) {
    return absl::IsNotFound(status) || IsNoNfTables(status);
  };
  nlmsghdr* request = Request(NFT_MSG_GETSET, 0, table, name);
  if (request == nullptr) return Set{};
  std::optional<NftSetInfo> info;
  absl::Status status = socket_.AskForEach(
      *request, "", [&info] { info.reset(); },
      [&info](const nlmsghdr& message) {
        if (!info.has_value()) info = DecodeNftSet(base::ViewOf(message));
      });
  if (missing(status)) return Set{};
  if (!status.ok()) return NftReaderError(status, what());
  if (!info.has_value()) {
    return absl::InternalError(absl::StrCat(what(), ": the kernel's answer is damaged"));
  }

  request = Request(NFT_MSG_GETSETELEM, NLM_F_DUMP, table, name);
  std::optional<NftSetDecoder> decoder;
  status = socket_.AskForEach(
      *request, "", [&] { decoder.emplace(*info); },
      [&decoder](const nlmsghdr& message) { decoder->Add(base::ViewOf(message)); });
  if (missing(status)) return Set{};
  if (!status.ok()) return NftReaderError(status, what());
  return std::move(*decoder).Take();
}

absl::Status NftReader::ReadSet(const TableId& table, const SetName& name, RuleSet& rules) {
  absl::StatusOr<Set> set =
      name.ip_set ? ReadIpSet(socket_, name.name) : ReadNftSet(table, name.name);
  if (!set.ok()) return set.status();
  rules.PutSet(table, name, *std::move(set));
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> NftReader::Generation() {
  absl::StatusOr<uint32_t> generation = base::NftGeneration(socket_);
  if (generation.ok()) return generation;
  if (IsNoNfTables(generation.status())) return 0;
  return base::NameCapability(generation.status());
}

}  // namespace npg::rules
