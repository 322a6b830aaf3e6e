// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_IP_RULES_H_
#define NODEPORT_GUARD_NODE_IP_RULES_H_

#include <linux/netlink.h>

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "node/mark_use.h"

namespace npg::node {

// The use that one RTM_NEWRULE message makes of marks; nullopt when it makes none.
std::optional<MarkUse> DecodeIpRule(const nlmsghdr& message);

// The routing rules of this network namespace, IPv4 and IPv6, that go by the
// mark. Needs no privilege.
absl::StatusOr<std::vector<MarkUse>> ReadIpRuleMarks();

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_IP_RULES_H_
