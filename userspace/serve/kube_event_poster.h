// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_KUBE_EVENT_POSTER_H_
#define NODEPORT_GUARD_SERVE_KUBE_EVENT_POSTER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "inspect/status.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/http_client.h"
#include "log/repeated_fault.h"
#include "serve/kube_event_answer.h"
#include "serve/kube_event_counts.h"
#include "serve/kube_events.h"
#include "serve/node_advice.h"
#include "serve/node_view.h"

namespace npg::serve {

// Reports this node's conflicts, and binds of NodePorts, to the cluster as Events of the Services,
// and advice about its port ranges as Events of the Node. Runs on its own
// thread with all signals blocked, so that neither a slow API server nor reading a large
// node delays other work.
class KubeEventPoster {
 public:
  struct Options {
    KubeEvents::Options events;
    // The advice that the Node gets, empty for none; null: no Events of the Node.
    std::function<std::string(const inspect::Status&)> advice;
    NodeAdvice::Options node_advice;  // of use with `advice`
    kubernetes::HttpClient::Timeouts timeouts;
    std::string user_agent = "nodeport-guard";
    absl::Duration poll = absl::Seconds(10);
  };

  // `view` outlives it. Calls `load`, from a thread of its own, before each request: an access that
  // cannot be loaded yet comes later.
  static absl::StatusOr<std::unique_ptr<KubeEventPoster>> Start(kubernetes::AccessLoader load,
                                                                NodeView& view, Options options);
  // With an access that does not change.
  static absl::StatusOr<std::unique_ptr<KubeEventPoster>> Start(kubernetes::ClusterAccess access,
                                                                NodeView& view, Options options);
  // Waits for a reading of the node in progress, but not for the network.
  ~KubeEventPoster();
  KubeEventPoster(const KubeEventPoster&) = delete;
  KubeEventPoster& operator=(const KubeEventPoster&) = delete;

  // From any thread.
  KubeEventCounts counts() const { return events_.counts(); }

 private:
  KubeEventPoster(kubernetes::AccessLoader load, NodeView& view, Options options);

  absl::Status Prepare();
  // Takes over an access that has changed. No request is in progress.
  absl::Status Refresh();
  // The server, for messages.
  std::string Server() const;
  absl::Status StartThread();
  void Poll();
  // Sends what is due, or waits until something is.
  void Pump();
  void Send(kubernetes::HttpRequest request);
  void OnAnswer(const KubeEventAnswer& answer);
  void Log(const absl::Status& status);

  const kubernetes::AccessLoader load_;
  NodeView& view_;
  const Options options_;
  absl::BitGen random_;
  KubeEvents events_;
  std::optional<NodeAdvice> advice_;
  base::UniqueFd stop_;  // an eventfd
  std::unique_ptr<base::EventLoop> loop_;
  kubernetes::ClusterAccess access_;                // of client_
  std::unique_ptr<kubernetes::HttpClient> client_;  // null: no access so far
  base::EventLoop::TimerId pump_timer_ = 0;
  bool busy_ = false;       // with a request
  bool advising_ = false;   // it is one of advice_
  KubeEventAnswer answer_;  // the response being received
  bool forbidden_ = false;  // and logged
  log::RepeatedFault fault_{"Kubernetes Events"};
  std::thread thread_;
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENT_POSTER_H_
