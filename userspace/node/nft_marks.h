// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_NFT_MARKS_H_
#define NODEPORT_GUARD_NODE_NFT_MARKS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"
#include "base/nft_objects.h"
#include "node/mark_use.h"

namespace npg::node {

// Family (NFPROTO_...) and name.
using NftTableId = std::pair<uint8_t, std::string>;

// "inet nodeport_guard", as nft has it.
std::string TableText(const NftTableId& table);

// All nf_tables tables of this network namespace. PERMISSION_DENIED without
// CAP_NET_ADMIN, UNIMPLEMENTED without nf_tables.
absl::StatusOr<absl::btree_set<NftTableId>> ListNftTables(base::NetlinkSocket& socket);

// What one rule has to do with the mark. The expressions of the nft language
// and those of iptables-nft are understood.
std::vector<MarkUse> DecodeNftRule(const nftnl_rule& rule);

// The same for all rules of the tables that `wanted` names.
absl::StatusOr<std::vector<MarkUse>> ReadNftMarks(
    base::NetlinkSocket& socket, absl::FunctionRef<bool(const NftTableId&)> wanted);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_NFT_MARKS_H_
