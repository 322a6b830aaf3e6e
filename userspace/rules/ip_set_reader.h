// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_IP_SET_READER_H_
#define NODEPORT_GUARD_RULES_IP_SET_READER_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/netlink_socket.h"
#include "rules/rule.h"

namespace npg::rules {

// Reads an ipset of this network namespace (NFNL_SUBSYS_IPSET; linux/netfilter/ipset/ip_set.h).
// `socket` is of NETLINK_NETFILTER. `name` may be "#<index>": the kernel's number of the set, which
// the match "set" of iptables-nft has instead of a name. Types: hash and bitmap of dimensions ip,
// net and port, and sets of such sets that agree in their dimensions (list:set); others, and sets
// with elements that exclude (nomatch), are `unknown`. A set that does not exist has no elements.
// PERMISSION_DENIED without CAP_NET_ADMIN.
absl::StatusOr<Set> ReadIpSet(base::NetlinkSocket& socket, const std::string& name);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_IP_SET_READER_H_
