// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_CONFLICTS_H_
#define NODEPORT_GUARD_CORE_CONFLICTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"

namespace npg::core {

// A guard's counts and times for a NodePort, of all listeners on it together.
struct PortHistory {
  std::optional<absl::Time> since;  // when the allocation was first known
  uint64_t exempted = 0;            // connects
  uint64_t observed = 0;            // the same, in observe mode
  std::optional<absl::Time> last;   // of either
};
using PortHistories = absl::flat_hash_map<PortKey, PortHistory>;

// A NodePort that a host process listens on: without the guard, the host's own
// connects to the listener go to the Service.
struct Conflict {
  PortKey key;
  uint32_t sources = 0;  // as in PortEntry
  std::string service;   // "namespace/name", or the rules that take the port; may be empty
  Listener listener;     // with its owner, if found
  OwnerVerdict owner_verdict = OwnerVerdict::kGuarded;  // never kNoListener
  PortHistory history;                                  // empty without a guard
};

// The listeners on `ports` that are reachable over loopback, or over one of the node's `own`
// addresses that are in scope. One conflict per listener, including those that `judge` does not
// guard, but for kNoListener; sorted by port, protocol, address.
std::vector<Conflict> FindConflicts(const PortEntries& ports,
                                    const std::vector<Listener>& listeners, const AddressSet& own,
                                    const PortHistories& histories,
                                    absl::FunctionRef<OwnerVerdict(const Listener&)> judge);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_CONFLICTS_H_
