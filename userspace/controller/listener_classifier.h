// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_LISTENER_CLASSIFIER_H_
#define NODEPORT_GUARD_CONTROLLER_LISTENER_CLASSIFIER_H_

#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "core/desired_state.h"
#include "core/owner_policy.h"
#include "dataplane/bpf_guard.h"

namespace npg::controller {

// Keeps the map `listeners` in step with the sockets there are. The programs
// write it when a socket is bound; this adds what they could not see, and takes
// out what is gone. Each call lists the node's sockets and reads the map: some
// milliseconds, and a walk over /proc where there is somebody to be found.
class ListenerClassifier {
 public:
  // `guard` outlives this.
  ListenerClassifier(dataplane::BpfGuard& guard, core::OwnerPolicy policy)
      : guard_(guard), policy_(std::move(policy)) {}

  // Enters the owners of listeners on `ports` that were bound when no program
  // was there to see it or the port was no NodePort yet.
  absl::Status Enter(const core::PortEntries& ports);

  // Corrects the entries whose process does not have the socket any more, or is
  // pid 1 and keeps it for another: of sockets that were passed on or inherited.
  // Who holds the socket now is judged as any owner is.
  absl::Status Refresh(const core::PortEntries& ports);

  // Removes the entries of sockets that are gone now and were at the last call:
  // what lies between two calls is the time a process has from bind() to listen().
  absl::Status Prune();

 private:
  using Id = std::tuple<std::string, uint16_t, uint8_t>;  // address, port, protocol

  dataplane::BpfGuard& guard_;
  const core::OwnerPolicy policy_;
  std::set<Id> absent_;  // had no socket at the last call
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_LISTENER_CLASSIFIER_H_
