// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_RULE_MARKS_H_
#define NODEPORT_GUARD_NODE_RULE_MARKS_H_

#include <vector>

#include "absl/strings/string_view.h"
#include "node/mark_use.h"
#include "rules/rule.h"

namespace npg::node {

// What one rule has to do with the mark of packets. A mark that the rule takes from elsewhere
// (conntrack, a map) is not known, and left out.
std::vector<MarkUse> MarksOf(const rules::ChainName& chain, const rules::Rule& rule);

// Whether the rule jumps (or goes) to that chain.
bool JumpsTo(const rules::Rule& rule, absl::string_view chain);

// Whether the rule's tests of the destination admit 127.0.0.1. The rule is of IPv4.
bool AdmitsLoopback(const rules::Rule& rule);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_RULE_MARKS_H_
