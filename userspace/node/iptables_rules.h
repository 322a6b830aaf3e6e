// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_IPTABLES_RULES_H_
#define NODEPORT_GUARD_NODE_IPTABLES_RULES_H_

#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/strings/string_view.h"
#include "node/mark_use.h"

namespace npg::node {

// What the output of iptables-save says of marks and of kube-proxy.
struct IptablesRules {
  absl::btree_set<std::string> tables;  // that were printed
  std::vector<MarkUse> marks;
  bool nodeports = false;         // kube-proxy's iptables mode: nat has KUBE-NODEPORTS with a jump
  bool loopback_too = false;      // and the jump takes loopback as well
  bool localhost_nfacct = false;  // rules count connects to localhost NodePorts
  bool ipvs_mode = false;         // nat has KUBE-NODE-PORT, of kube-proxy's IPVS mode
};

// `program` names the variant: "iptables-nft".
IptablesRules ParseIptablesRules(absl::string_view saved, absl::string_view program);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_IPTABLES_RULES_H_
