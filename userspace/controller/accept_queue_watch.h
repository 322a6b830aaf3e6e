// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_ACCEPT_QUEUE_WATCH_H_
#define NODEPORT_GUARD_CONTROLLER_ACCEPT_QUEUE_WATCH_H_

#include <vector>

#include "absl/status/statusor.h"
#include "core/accept_queue.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/health.h"
#include "log/repeated_fault.h"

namespace npg::controller {

// Looks for guarded listeners on NodePorts that do not accept, logs each once, and counts them in
// log::Health. Their processes may only hold the port: --ignore-process should name them.
class AcceptQueueWatch {
 public:
  // All outlive this.
  AcceptQueueWatch(const dataplane::BpfGuard& guard, const core::OwnerRules& rules,
                   log::Health& health)
      : guard_(guard), rules_(rules), health_(health) {}

  // Every ten seconds. `own` has the addresses besides loopback that are guarded. Lists the TCP
  // listeners, unless no port of `ports` is TCP.
  void Look(const core::PortEntries& ports, const core::AddressSet& own);

 private:
  absl::StatusOr<std::vector<core::Listener>> List(const core::PortEntries& ports,
                                                   const core::AddressSet& own) const;

  const dataplane::BpfGuard& guard_;
  const core::OwnerRules& rules_;
  log::Health& health_;
  core::AcceptQueues queues_;
  log::RepeatedFault fault_{"look at the accept queues of listeners"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_ACCEPT_QUEUE_WATCH_H_
