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

// Keeps the map `listeners` equal to the node's sockets. The programs write it at
// bind(); this adds the sockets that they did not see, and removes entries of closed
// ones. Each call lists the node's sockets and reads the map, which takes some
// milliseconds, and walks over /proc if owners are unknown.
class ListenerClassifier {
 public:
  // `guard` outlives this.
  ListenerClassifier(dataplane::BpfGuard& guard, core::OwnerPolicy policy)
      : guard_(guard), policy_(std::move(policy)) {}

  // Enters the owners of listeners on `ports` that were bound before the programs
  // were attached or before the port became a NodePort.
  absl::Status Enter(const core::PortEntries& ports);

  // The same at a start, and the owners of listeners on other ports whose verdict is
  // not the default: their port may become a NodePort at any time.
  absl::Status EnterAll(const core::PortEntries& ports);

  // Corrects the entries whose process no longer has the socket, is pid 1 and holds
  // it for another process, or has another name than the thread that bound it. The
  // process that holds the socket now becomes the owner.
  absl::Status Refresh(const core::PortEntries& ports);

  // Removes the entries that had no socket at this call and the last one: a process
  // has the time between two calls to get from bind() to listen().
  absl::Status Prune();

 private:
  // An entry and its sockets.
  struct Noted {
    abi::Listener value;
    std::vector<core::Listener> sockets;  // at least one
    pid_t pid() const { return static_cast<pid_t>(value.pid); }
  };

  // Enters them with the verdict of policy_.
  absl::Status Add(const std::vector<core::Listener>& listeners);
  // Takes out the listeners that have an entry.
  absl::Status LeaveUnknown(std::vector<core::Listener>& found) const;
  // Listeners whose owner differs, or may differ, from their entry.
  std::vector<core::Listener> FindChanged(const std::map<abi::ListenerKey, Noted>& noted);

  dataplane::BpfGuard& guard_;
  const core::OwnerPolicy policy_;
  std::map<abi::ListenerKey, abi::Listener> absent_;  // had no socket at the last call
  absl::flat_hash_set<uint64_t> in_vain_;             // sockets whose owner was not found
  int refreshes_ = 0;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_LISTENER_CLASSIFIER_H_
