// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_NFT_QUERIES_H_
#define NODEPORT_GUARD_NODE_NFT_QUERIES_H_

#include <linux/netlink.h>

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::node {

// Read-only queries to nf_tables of the current network namespace. Families are AF_INET,
// AF_INET6. Errors name the requested object; PERMISSION_DENIED without CAP_NET_ADMIN.

// "inet", as nft has it; `family` is NFPROTO_... (AF_INET and AF_INET6 have the same values).
absl::string_view NftFamilyName(uint8_t family);

absl::StatusOr<bool> HasChain(uint8_t family, absl::string_view table, absl::string_view chain);

// "nftables map service-nodeports of table ip kube-proxy".
std::string MapText(uint8_t family, absl::string_view table, absl::string_view map);

// Calls `visit` for each message of the kernel's answer to NFT_MSG_GETSETELEM; see
// base::NetlinkSocket::AskForEach(). NOT_FOUND when there is no such map, UNAVAILABLE
// when it changes faster than it can be read.
absl::Status ListMap(uint8_t family, absl::string_view table, absl::string_view map,
                     absl::FunctionRef<void()> start,
                     absl::FunctionRef<void(const nlmsghdr& message)> visit);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_NFT_QUERIES_H_
