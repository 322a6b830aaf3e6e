// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_NFT_TABLES_H_
#define NODEPORT_GUARD_NODE_NFT_TABLES_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "base/netlink_socket.h"

namespace npg::node {

// Family (NFPROTO_...) and name.
using NftTableId = std::pair<uint8_t, std::string>;

// "inet nodeport_guard", as nft has it.
std::string TableText(const NftTableId& table);

// All nf_tables tables of this network namespace. PERMISSION_DENIED without
// CAP_NET_ADMIN, UNIMPLEMENTED without nf_tables.
absl::StatusOr<absl::btree_set<NftTableId>> ListNftTables(base::NetlinkSocket& socket);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_NFT_TABLES_H_
