// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_START_KUBE_EVENTS_H_
#define NODEPORT_GUARD_CLI_START_KUBE_EVENTS_H_

#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "serve/kube_event_counts.h"
#include "serve/kube_event_poster.h"
#include "serve/node_view.h"

namespace npg::cli {

// Whether Events are enabled and the source kubernetes is in use.
bool WantsKubeEvents(const RunOptions& options);

// Sends Events for the conflicts of this node.
class KubeEventSender {
 public:
  // Starts to send Events for the conflicts in `view`. After an error call it again; the guard
  // works without them. Errors as those of LoadAccess() and KubeEventPoster::Start().
  absl::Status Start(const RunOptions& options, const Environment& environment,
                     std::shared_ptr<serve::NodeView> view);

  // From any thread. Zero until it has started.
  serve::KubeEventCounts counts() const;

 private:
  std::shared_ptr<serve::NodeView> view_;  // the poster uses it
  mutable std::mutex mutex_;
  std::unique_ptr<serve::KubeEventPoster> poster_;  // guarded by mutex_
};

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_START_KUBE_EVENTS_H_
