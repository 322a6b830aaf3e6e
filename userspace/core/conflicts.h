// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_CONFLICTS_H_
#define NODEPORT_GUARD_CORE_CONFLICTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/desired_state.h"
#include "core/listener.h"
#include "core/port.h"

namespace npg::core {

// A NodePort that a host process listens on: without the guard, the host's own
// connects to the listener go to the Service.
struct Conflict {
  PortKey key;
  uint32_t sources = 0;  // npg_source bits
  std::string service;   // "namespace/name", may be empty
  Listener listener;
};

// ports × listeners that are reachable over loopback, or over one of the node's
// `own` addresses that are in scope. One conflict per
// listener; sorted by port, protocol, address.
std::vector<Conflict> FindConflicts(const PortEntries& ports,
                                    const std::vector<Listener>& listeners,
                                    const AddressSet& own = {});

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_CONFLICTS_H_
