// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_ACCEPT_QUEUE_WATCH_H_
#define NODEPORT_GUARD_CONTROLLER_ACCEPT_QUEUE_WATCH_H_

#include <functional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "core/accept_queue.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/health.h"
#include "log/repeated_fault.h"
#include "node/sock_diag.h"

namespace npg::controller {

// Looks for guarded listeners on NodePorts that do not accept, logs each once, and counts them in
// log::Health. Their processes may only hold the port: --ignore-process should name them.
class AcceptQueueWatch {
 public:
  // What the watch reads of the node.
  struct Lists {
    // The TCP listeners that are `wanted` and kept, with the guard's records of who bound them.
    std::function<absl::StatusOr<std::vector<core::Listener>>(
        absl::FunctionRef<bool(const core::PortKey&)> wanted, node::KeepListener keep)>
        listeners;
    std::function<absl::StatusOr<std::vector<core::WaitingConnection>>(const core::WaitingQuery&)>
        waiting;
  };

  // The arguments outlive this.
  AcceptQueueWatch(const dataplane::BpfGuard& guard, const core::OwnerRules& rules,
                   log::Health& health);
  AcceptQueueWatch(Lists lists, const core::OwnerRules& rules, log::Health& health);

  // At regular intervals, of ten seconds. `own` has the addresses besides loopback that are
  // guarded. Lists the TCP listeners, unless no port of `ports` is TCP, and connections, if there
  // are suspects. A look that fails leaves what is known of the queues as it is.
  void Look(const core::PortEntries& ports, const core::AddressSet& own);

 private:
  absl::StatusOr<std::vector<core::Listener>> List(const core::PortEntries& ports,
                                                   const core::AddressSet& own) const;
  // The listeners that do not accept and were not found before.
  absl::StatusOr<std::vector<core::Listener>> Find(const core::PortEntries& ports,
                                                   const core::AddressSet& own);

  Lists lists_;
  const core::OwnerRules& rules_;
  log::Health& health_;
  core::AcceptQueues queues_;
  log::RepeatedFault fault_{"look at the accept queues of listeners"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_ACCEPT_QUEUE_WATCH_H_
