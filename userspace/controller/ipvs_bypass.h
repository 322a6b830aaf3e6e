// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_IPVS_BYPASS_H_
#define NODEPORT_GUARD_CONTROLLER_IPVS_BYPASS_H_

#include "absl/status/status.h"
#include "core/listener.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {

// Adds the table's IPVS bypass if IPVS has services on loopback addresses or on the guarded
// `own` ones of the node, and removes it otherwise. The kernel does not notify of changes:
// call it periodically. An error leaves the table unchanged.
absl::Status MatchIpvs(dataplane::NftTable& table, const core::AddressSet& own);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_IPVS_BYPASS_H_
