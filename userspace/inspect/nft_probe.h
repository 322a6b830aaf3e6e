// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_NFT_PROBE_H_
#define NODEPORT_GUARD_INSPECT_NFT_PROBE_H_

#include "inspect/trial.h"

namespace npg::inspect {

// Makes a table of another name with what the guard's table needs, and removes it
// in the same transaction, so that no other process sees it.
Trial TryNfTables();

// The same for a table that has an owner and outlives it (Linux >= 6.9).
Trial TryNftOwner();

// Lists the listening sockets.
Trial TrySockDiag();

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_NFT_PROBE_H_
