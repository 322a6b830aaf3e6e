// SPDX-License-Identifier: Apache-2.0
#include "rules/nft_rule_decoder.h"

#include <netinet/in.h>

#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/nft_attributes.h"
#include "rules/nft_expressions.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

constexpr uint8_t kNftUserDataComment = 0;  // NFTNL_UDATA_RULE_COMMENT of libnftnl

bool IsNftMessage(const base::NetlinkMessage& message, uint8_t type) {
  return message.type == ((NFNL_SUBSYS_NFTABLES << 8) | type);
}

uint64_t NftHandle(absl::string_view payload) {
  return be64toh(base::ValueOf<uint64_t>(payload).value_or(0));
}

// nft, and iptables-nft for comments of moderate length, leave the comment in data that the kernel
// does not look into: elements of a byte for the type, one for the length, and the value.
absl::string_view NftUserDataText(absl::string_view data) {
  while (data.size() >= 2) {
    const auto type = static_cast<uint8_t>(data[0]);
    const auto size = static_cast<uint8_t>(data[1]);
    data.remove_prefix(2);
    if (size > data.size()) break;
    if (type == kNftUserDataComment) return base::TextOf(data.substr(0, size));
    data.remove_prefix(size);
  }
  return "";
}

void RunExpressions(uint8_t family, absl::string_view list, Rule& rule) {
  // Most rules have not more: one allocation.
  constexpr size_t kUsualSteps = 6;
  rule.steps.reserve(kUsualSteps);
  NftExpressions expressions(family, rule);
  for (base::NetlinkAttribute element; base::NextAttribute(list, element);) {
    if (element.type != NFTA_LIST_ELEM) continue;
    const NftAttributes expression(element.payload);
    expressions.Run(expression.Text(NFTA_EXPR_NAME), expression.Bytes(NFTA_EXPR_DATA));
  }
}

std::optional<NftRule> DecodeRuleOrNone(const base::NetlinkMessage& message, bool with_chain) {
  if (!IsNftMessage(message, NFT_MSG_NEWRULE)) return std::nullopt;
  const base::NftMessage nft = base::ParseNftMessage(message.payload);
  const NftAttributes attributes(nft.attributes);
  if (!attributes.Has(NFTA_RULE_HANDLE) || attributes.Text(NFTA_RULE_CHAIN).empty()) {
    return std::nullopt;
  }
  std::optional<NftRule> result(std::in_place);
  if (with_chain) {
    result->chain = {{Engine::kNfTables, nft.family, std::string(attributes.Text(NFTA_RULE_TABLE))},
                     std::string(attributes.Text(NFTA_RULE_CHAIN))};
  }
  result->after = NftHandle(attributes.Bytes(NFTA_RULE_POSITION));
  result->rule.handle = NftHandle(attributes.Bytes(NFTA_RULE_HANDLE));
  result->rule.comment = std::string(NftUserDataText(attributes.Bytes(NFTA_RULE_USERDATA)));
  RunExpressions(nft.family, attributes.Bytes(NFTA_RULE_EXPRESSIONS), result->rule);
  return result;
}

}  // namespace

NftExpressions::NftExpressions(uint8_t family, Rule& rule)
    : network_family_(family == NFPROTO_IPV4 || family == NFPROTO_IPV6 ? family : uint8_t{0}),
      rule_(rule) {}

std::optional<NftExpressions::Handler> NftExpressions::HandlerOf(absl::string_view name) {
  using N = NftExpressions;
  // By frequency. nullptr: it has no effect on the way of a packet.
  static constexpr std::array kEntries = {
      Entry{"cmp", &N::Compare},
      Entry{"meta", &N::Meta},
      Entry{"payload", &N::Payload},
      Entry{"counter", nullptr},
      Entry{"immediate", &N::Immediate},
      Entry{"bitwise", &N::Bitwise},
      Entry{"match", &N::Match},
      Entry{"target", &N::Target},
      Entry{"lookup", &N::Lookup},
      Entry{"nat", &N::Nat},
      Entry{"ct", &N::Conntrack},
      Entry{"fib", &N::Fib},
      Entry{"reject", &N::Reject},
      Entry{"masq", nullptr},
      Entry{"redir", &N::Redirect},
      Entry{"range", &N::Range},
      Entry{"byteorder", &N::Byteorder},
      Entry{"numgen", &N::NumberGenerator},
      Entry{"hash", &N::Hash},
      Entry{"limit", &N::Limited},
      Entry{"quota", &N::Limited},
      Entry{"connlimit", &N::Limited},
      Entry{"log", nullptr},
      Entry{"last", nullptr},
      Entry{"dup", nullptr},
      Entry{"flow_offload", nullptr},
      Entry{"notrack", &N::Untracked},
      Entry{"objref", &N::ObjectReference},
      Entry{"dynset", &N::Dynset},
      Entry{"queue", &N::Queue},
      Entry{"tproxy", &N::Tproxy},
      Entry{"fwd", &N::Forward},
      Entry{"synproxy", &N::Synproxy},
      Entry{"exthdr", &N::ExtensionHeader},
      Entry{"inner", &N::Inner},
      Entry{"socket", &N::Socket},
      Entry{"osf", &N::OsFingerprint},
      Entry{"rt", &N::Route},
      Entry{"xfrm", &N::Xfrm},
      Entry{"tunnel", &N::Tunnel},
  };
  const auto* const found = std::find_if(kEntries.begin(), kEntries.end(),
                                         [name](const Entry& entry) { return entry.name == name; });
  if (found == kEntries.end()) return std::nullopt;
  return found->handler;
}

void NftExpressions::Run(absl::string_view name, absl::string_view data) {
  if (ended_) return;
  const std::optional<Handler> handler = HandlerOf(name);
  if (handler && *handler == nullptr) return;
  if (!handler || !(this->**handler)(NftAttributes(data))) {
    Divert(absl::StrCat("expression ", name));
  }
}

std::optional<NftRule> DecodeNftRule(const base::NetlinkMessage& message) {
  return DecodeRuleOrNone(message, true);
}

std::optional<NftRule> DecodeNftRuleOfChain(const base::NetlinkMessage& message) {
  return DecodeRuleOrNone(message, false);
}

std::optional<BaseChain> DecodeBaseChain(const base::NetlinkMessage& message) {
  if (!IsNftMessage(message, NFT_MSG_NEWCHAIN)) return std::nullopt;
  const base::NftMessage nft = base::ParseNftMessage(message.payload);
  if (nft.family != NFPROTO_IPV4 && nft.family != NFPROTO_IPV6 && nft.family != NFPROTO_INET) {
    return std::nullopt;
  }
  const NftAttributes chain(nft.attributes);
  const NftAttributes hook(chain.Bytes(NFTA_CHAIN_HOOK));
  const std::optional<uint32_t> number = hook.Number(NFTA_HOOK_HOOKNUM);
  const std::optional<uint32_t> priority = hook.Number(NFTA_HOOK_PRIORITY);
  if (!number || !priority || chain.Text(NFTA_CHAIN_NAME).empty()) return std::nullopt;
  if (*number != NF_INET_LOCAL_OUT && *number != NF_INET_LOCAL_IN) return std::nullopt;
  return BaseChain{
      .chain = {{Engine::kNfTables, nft.family, std::string(chain.Text(NFTA_CHAIN_TABLE))},
                std::string(chain.Text(NFTA_CHAIN_NAME))},
      .hook = *number,
      .priority = static_cast<int32_t>(*priority),
      .nat = chain.Text(NFTA_CHAIN_TYPE) == "nat",
      .drops = chain.Number(NFTA_CHAIN_POLICY) == uint32_t{NF_DROP}};
}

std::optional<TableId> DecodeDormantTable(const base::NetlinkMessage& message) {
  if (!IsNftMessage(message, NFT_MSG_NEWTABLE)) return std::nullopt;
  const base::NftMessage nft = base::ParseNftMessage(message.payload);
  const NftAttributes table(nft.attributes);
  if ((table.Number(NFTA_TABLE_FLAGS).value_or(0) & NFT_TABLE_F_DORMANT) == 0) return std::nullopt;
  return TableId{Engine::kNfTables, nft.family, std::string(table.Text(NFTA_TABLE_NAME))};
}

}  // namespace npg::rules
