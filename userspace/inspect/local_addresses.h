// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_LOCAL_ADDRESSES_H_
#define NODEPORT_GUARD_INSPECT_LOCAL_ADDRESSES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/listener.h"
#include "core/node_address.h"

namespace npg::inspect {

// The node's addresses besides loopback, as --scope local sees them.
struct LocalAddresses {
  core::AddressSet own;  // guarded, or would be guarded
  std::vector<core::LeftOutAddress> left_out;
};

// Judges the node's addresses by `choice`. Without a choice, it takes the addresses from the guard
// that is pinned in `bpffs`, if that guard is readable and has --scope local: its controller may
// have been started with --local-address.
absl::StatusOr<LocalAddresses> ReadLocalAddresses(const std::string& bpffs,
                                                  const core::AddressChoice& choice);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_LOCAL_ADDRESSES_H_
