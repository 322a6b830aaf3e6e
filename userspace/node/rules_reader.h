// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_RULES_READER_H_
#define NODEPORT_GUARD_NODE_RULES_READER_H_

#include <string>
#include <vector>

#include "node/mark_use.h"

namespace npg::node {

// What the rules of this network namespace do, regardless of who wrote them.
struct RulesSeen {
  std::vector<MarkUse> marks;
  bool iptables_nft = false;  // kube-proxy's rules are there, by variant
  bool iptables_legacy = false;
  bool nftables = false;
  bool ipvs = false;                // its IPVS mode
  bool loopback_too = false;        // in iptables mode: NodePorts of loopback addresses
  bool localhost_nfacct = false;    // and connects to them are counted
  std::vector<std::string> unseen;  // what could not be read, and why
};

// Reads routing rules, nf_tables (with the tables of iptables-nft), and iptables-legacy, of both
// families, but not the guard's own table, which is `own_table` of the family inet.
// Loads no module and makes no table: a save command runs only where the kernel already has
// legacy tables.
RulesSeen ReadRules(const std::string& proc, const std::string& own_table);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_RULES_READER_H_
