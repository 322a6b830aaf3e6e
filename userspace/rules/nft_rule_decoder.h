// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_NFT_RULE_DECODER_H_
#define NODEPORT_GUARD_RULES_NFT_RULE_DECODER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/rule.h"

namespace npg::rules {

// A rule of nf_tables, from NFT_MSG_NEWRULE (an answer or a notification).
struct NftRule {
  ChainName chain;
  Rule rule;
  uint64_t after = 0;  // the handle of the rule before it; 0: it is the first, or not said
};

// nullopt: it is no rule, or is damaged. Expressions that are not known become operands or
// verdicts that name them. Reads the message in place: base/netlink_view.h.
std::optional<NftRule> DecodeNftRule(const base::NetlinkMessage& message);

// The same, for a caller that knows the chain; leaves NftRule::chain empty.
std::optional<NftRule> DecodeNftRuleOfChain(const base::NetlinkMessage& message);

// A chain with a hook, from NFT_MSG_NEWCHAIN; nullopt for other chains, and for hooks that packets
// of a connect do not meet (any but NF_INET_LOCAL_OUT and NF_INET_LOCAL_IN of ip, ip6 and inet).
std::optional<BaseChain> DecodeBaseChain(const base::NetlinkMessage& message);

// A table whose chains have no effect, from NFT_MSG_NEWTABLE; nullopt for others.
std::optional<TableId> DecodeDormantTable(const base::NetlinkMessage& message);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_NFT_RULE_DECODER_H_
