// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_RULE_CHANGES_H_
#define NODEPORT_GUARD_RULES_RULE_CHANGES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "base/netlink_view.h"
#include "rules/rule.h"

namespace npg::rules {

// A rule that was added to a chain of nf_tables, or removed from it.
struct RuleEdit {
  ChainName chain;
  bool removed = false;
  bool at_end = false;  // where it was added: at the end,
  uint64_t after = 0;   // or behind the rule with this handle; 0: at the beginning
  Rule rule;            // if it was removed, only its handle
};

// What changed since the last reading.
struct RuleChanges {
  bool all = false;  // of nf_tables; the sets below are empty then
  bool base_chains = false;
  bool legacy = false;   // or may have changed: legacy tables send no notifications
  bool ip_sets = false;  // the same for ipsets
  absl::btree_set<ChainName> chains;
  absl::btree_set<ChainName> removed;  // chains; a kernel need not say that one had a hook
  absl::btree_set<std::pair<TableId, std::string>> sets;
  absl::btree_set<TableId> tables;  // removed as a whole
  // In order. They save to read a chain of 10,000 rules again because of one. Void for chains that
  // are in `chains` or `removed`.
  std::vector<RuleEdit> edits;

  static RuleChanges Everything();
  bool OfNfTables() const;
  bool empty() const { return !OfNfTables() && !legacy && !ip_sets; }
  void Add(const RuleChanges& other);
  // From now on `all`: to name each change takes more memory and time than to read all rules.
  void NoteAll();
};

// Notes what a notification of NFNLGRP_NFTABLES says. False: nothing that matters, such as a change
// of the guard's own table, which is `own_table` of the family inet.
bool NoteChange(const base::NetlinkMessage& message, const std::string& own_table,
                RuleChanges& changes);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_RULE_CHANGES_H_
