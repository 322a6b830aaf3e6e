// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_NFT_GENERATION_H_
#define NODEPORT_GUARD_BASE_NFT_GENERATION_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/netlink_socket.h"

namespace npg::base {

// The number of the present generation of the nf_tables rule set in this network namespace, which
// each change of it increments. `socket` is of NETLINK_NETFILTER.
absl::StatusOr<uint32_t> NftGeneration(NetlinkSocket& socket);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_NFT_GENERATION_H_
