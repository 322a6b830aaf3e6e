// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_KUBE_EVENT_POSTER_H_
#define NODEPORT_GUARD_SERVE_KUBE_EVENT_POSTER_H_

#include <memory>
#include <string>
#include <thread>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/http_client.h"
#include "log/repeated_fault.h"
#include "serve/kube_event_counts.h"
#include "serve/kube_events.h"
#include "serve/node_view.h"

namespace npg::serve {

// Tells the cluster of this node's conflicts, as Events of the Services. On a
// thread of its own, for which all signals are blocked: neither a slow API server
// nor the reading of a large node delays anything else.
class KubeEventPoster {
 public:
  struct Options {
    KubeEvents::Options events;
    kubernetes::HttpClient::Timeouts timeouts;
    std::string user_agent = "nodeport-guard";
    absl::Duration poll = absl::Seconds(10);
  };

  // `view` is to outlive it. To be called while nobody else starts to use libcurl.
  static absl::StatusOr<std::unique_ptr<KubeEventPoster>> Start(kubernetes::ClusterAccess access,
                                                                NodeView& view, Options options);
  // Waits for a reading of the node that is under way, but not for the network.
  ~KubeEventPoster();
  KubeEventPoster(const KubeEventPoster&) = delete;
  KubeEventPoster& operator=(const KubeEventPoster&) = delete;

  // From any thread.
  KubeEventCounts counts() const { return events_.counts(); }

 private:
  KubeEventPoster(kubernetes::ClusterAccess access, NodeView& view, Options options);

  absl::Status Prepare();
  absl::Status StartThread();
  void Poll();
  // Sends what is due, or waits until something is.
  void Pump();
  void Send(kubernetes::HttpRequest request);
  void OnAnswer(const KubeEventAnswer& answer);
  void Log(const absl::Status& status);

  const kubernetes::ClusterAccess access_;
  NodeView& view_;
  const Options options_;
  absl::BitGen random_;
  KubeEvents events_;
  base::UniqueFd stop_;  // an eventfd
  std::unique_ptr<base::EventLoop> loop_;
  std::unique_ptr<kubernetes::HttpClient> client_;
  base::EventLoop::TimerId pump_timer_ = 0;
  KubeEventAnswer answer_;  // the one that is coming in
  bool forbidden_ = false;  // and that was said
  log::RepeatedFault fault_{"Kubernetes Events"};
  std::thread thread_;
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENT_POSTER_H_
