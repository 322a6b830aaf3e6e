// SPDX-License-Identifier: Apache-2.0
#include "rules/rule_changes.h"

#include <endian.h>
#include <netinet/in.h>
// After <netinet/in.h>, whose declarations the kernel's headers leave out then.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/nft_rule_decoder.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

// Beyond as many changes of one kind, all rules are read again.
constexpr size_t kMaxNamedChanges = 1000;
// Beyond as many edits, whole chains are read again.
constexpr size_t kMaxEdits = 64;

bool IsFamilyOfConnects(uint8_t family) {
  return family == NFPROTO_INET || family == NFPROTO_IPV4 || family == NFPROTO_IPV6;
}

void NoteChain(const TableId& table, absl::string_view attributes, bool removed,
               RuleChanges& changes) {
  ChainName chain{table,
                  std::string(base::TextOf(base::FindAttribute(attributes, NFTA_CHAIN_NAME)))};
  // The hook is in the notification of a base chain, except when it is removed.
  changes.base_chains |= !base::FindAttribute(attributes, NFTA_CHAIN_HOOK).empty();
  if (removed) {
    changes.removed.insert(std::move(chain));
  } else {
    changes.chains.insert(std::move(chain));
  }
}

void NoteRule(const base::NetlinkMessage& message, const TableId& table,
              absl::string_view attributes, bool removed, RuleChanges& changes) {
  ChainName chain{table,
                  std::string(base::TextOf(base::FindAttribute(attributes, NFTA_RULE_CHAIN)))};
  // The notification tells where a rule is only if it was added or inserted, not if it replaces
  // another; old kernels never do, and set no flags (nf_tables_rule_notify()).
  const bool placed = removed || (message.flags & NLM_F_CREATE) != 0;
  if (!placed || changes.edits.size() >= kMaxEdits || changes.chains.contains(chain)) {
    changes.chains.insert(std::move(chain));
    return;
  }
  RuleEdit edit{.chain = chain, .removed = removed, .rule = {}};
  if (removed) {
    const auto handle = base::ValueOf<uint64_t>(base::FindAttribute(attributes, NFTA_RULE_HANDLE));
    edit.rule.handle = handle ? be64toh(*handle) : 0;
  } else if (std::optional<NftRule> decoded = DecodeNftRuleOfChain(message)) {
    edit.after = decoded->after;
    // The kernel names no rule before one that is the first or the last.
    edit.at_end = decoded->after == 0 && (message.flags & NLM_F_APPEND) != 0;
    edit.rule = std::move(decoded->rule);
  }
  if (edit.rule.handle == 0) {  // damaged
    changes.chains.insert(std::move(chain));
    return;
  }
  changes.edits.push_back(std::move(edit));
}

void NoteSet(const TableId& table, absl::string_view name, RuleChanges& changes) {
  changes.sets.emplace(table, std::string(base::TextOf(name)));
}

}  // namespace

RuleChanges RuleChanges::Everything() {
  RuleChanges changes;
  changes.NoteAll();
  changes.legacy = true;
  changes.ip_sets = true;
  return changes;
}

bool RuleChanges::OfNfTables() const {
  return all || base_chains || !chains.empty() || !removed.empty() || !sets.empty() ||
         !tables.empty() || !edits.empty();
}

void RuleChanges::NoteAll() {
  all = base_chains = true;
  chains.clear();
  removed.clear();
  sets.clear();
  tables.clear();
  edits.clear();
}

void RuleChanges::Add(const RuleChanges& other) {
  base_chains |= other.base_chains;
  legacy |= other.legacy;
  ip_sets |= other.ip_sets;
  if (all || other.all) return NoteAll();
  chains.insert(other.chains.begin(), other.chains.end());
  removed.insert(other.removed.begin(), other.removed.end());
  sets.insert(other.sets.begin(), other.sets.end());
  tables.insert(other.tables.begin(), other.tables.end());
  edits.insert(edits.end(), other.edits.begin(), other.edits.end());
}

bool NoteChange(const base::NetlinkMessage& message, const std::string& own_table,
                RuleChanges& changes) {
  if (message.type >> 8 != NFNL_SUBSYS_NFTABLES) return false;
  const base::NftMessage nft = base::ParseNftMessage(message.payload);
  // The number of this attribute is the same in all messages.
  const absl::string_view name = base::TextOf(base::FindAttribute(nft.attributes, NFTA_TABLE_NAME));
  if (name.empty() || !IsFamilyOfConnects(nft.family)) return false;
  if (nft.family == NFPROTO_INET && name == own_table) return false;
  const TableId table{Engine::kNfTables, nft.family, std::string(name)};
  const auto type = static_cast<uint8_t>(message.type & UINT8_MAX);
  if (changes.all) {
    return type <= NFT_MSG_DELSETELEM;  // no object or flow table, which rules do not read
  }
  switch (type) {
    case NFT_MSG_NEWTABLE:
      // A table may have become dormant, which takes its chains from their hooks.
      changes.base_chains = true;
      break;
    case NFT_MSG_DELTABLE:
      changes.tables.insert(table);
      changes.base_chains = true;
      break;
    case NFT_MSG_NEWCHAIN:
    case NFT_MSG_DELCHAIN:
      NoteChain(table, nft.attributes, type == NFT_MSG_DELCHAIN, changes);
      break;
    case NFT_MSG_NEWRULE:
    case NFT_MSG_DELRULE:
      NoteRule(message, table, nft.attributes, type == NFT_MSG_DELRULE, changes);
      break;
    case NFT_MSG_NEWSET:
    case NFT_MSG_DELSET:
      NoteSet(table, base::FindAttribute(nft.attributes, NFTA_SET_NAME), changes);
      break;
    case NFT_MSG_NEWSETELEM:
    case NFT_MSG_DELSETELEM:
      NoteSet(table, base::FindAttribute(nft.attributes, NFTA_SET_ELEM_LIST_SET), changes);
      break;
    default:
      return false;
  }
  if (changes.chains.size() + changes.removed.size() + changes.sets.size() + changes.tables.size() >
      kMaxNamedChanges) {
    changes.NoteAll();
  }
  return true;
}

}  // namespace npg::rules
