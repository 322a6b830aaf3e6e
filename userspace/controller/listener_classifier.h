// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_LISTENER_CLASSIFIER_H_
#define NODEPORT_GUARD_CONTROLLER_LISTENER_CLASSIFIER_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/bpf_guard.h"

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

  // The same at a start, and the owners of listeners on other ports for whom the
  // default does not hold: their port may become a NodePort at any time.
  absl::Status EnterAll(const core::PortEntries& ports);

  // Corrects the entries whose process does not have the socket any more, is pid 1
  // and keeps it for another, or has another name than the thread that bound it.
  // Who holds the socket now is judged as any owner is.
  absl::Status Refresh(const core::PortEntries& ports);

  // Removes the entries of sockets that are gone now and were at the last call:
  // what lies between two calls is the time a process has from bind() to listen().
  absl::Status Prune();

 private:
  // An entry, and the sockets that it is of.
  struct Noted {
    abi::Listener value;
    std::vector<core::Listener> sockets;  // at least one
    pid_t pid() const { return static_cast<pid_t>(value.pid); }
  };

  // Enters them as policy_ judges their owners.
  absl::Status Add(const std::vector<core::Listener>& listeners);
  // Takes out the listeners that have an entry.
  absl::Status LeaveUnknown(std::vector<core::Listener>& found) const;
  // Listeners whose owner is, or may be, another than their entry says.
  std::vector<core::Listener> FindChanged(const std::map<abi::ListenerKey, Noted>& noted);

  dataplane::BpfGuard& guard_;
  const core::OwnerPolicy policy_;
  std::map<abi::ListenerKey, abi::Listener> absent_;  // had no socket at the last call
  absl::flat_hash_set<uint64_t> in_vain_;             // sockets of which no owner was found
  int refreshes_ = 0;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_LISTENER_CLASSIFIER_H_
