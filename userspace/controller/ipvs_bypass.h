// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_IPVS_BYPASS_H_
#define NODEPORT_GUARD_CONTROLLER_IPVS_BYPASS_H_

#include "absl/status/status.h"
#include "core/listener.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {

// Puts the table's IPVS bypass in place where IPVS has services on loopback
// addresses or on the node's `own` that are guarded, and takes it away where it has none. Nothing
// tells of a change: call it now and then. After an error the table is as it was.
absl::Status MatchIpvs(dataplane::NftTable& table, const core::AddressSet& own);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_IPVS_BYPASS_H_
