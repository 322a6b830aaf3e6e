// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_KUBERNETES_KUBERNETES_SOURCE_H_
#define NODEPORT_GUARD_SOURCES_KUBERNETES_KUBERNETES_SOURCE_H_

#include <memory>
#include <optional>
#include <string>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "core/bind_facts.h"
#include "kubernetes/cluster_access.h"
#include "kubernetes/http_client.h"
#include "sources/kubernetes/reflector.h"
#include "sources/source.h"

namespace npg::sources {

// The NodePorts of all Services, from the API server, as soon as they are allocated:
// before kube-proxy makes rules. reflector.h lists and watches, http_client.h connects.
//
// It is not local: a node starts, and keeps its last NodePorts, without an API server.
// Meanwhile the callback receives an error for each new reason, and the last reading
// stays valid.
class KubernetesSource : public Source {
 public:
  struct Options {
    Reflector::Options reflector;
    kubernetes::HttpClient::Timeouts timeouts;
    std::string user_agent = "nodeport-guard";
    absl::Duration read_timeout = absl::Minutes(2);  // of Read()
    // How often the access is compared with the one in use, besides before each request: a
    // watch lasts for minutes, as a wait may, and is given up if there is another server.
    absl::Duration access_check = absl::Seconds(30);
  };

  // Calls `load` before each request, and at the interval above. While it fails, the last
  // access is used, if there was one.
  KubernetesSource(kubernetes::AccessLoader load, Options options);
  KubernetesSource(kubernetes::ClusterAccess access, Options options);
  ~KubernetesSource() override;
  KubernetesSource(const KubernetesSource&) = delete;
  KubernetesSource& operator=(const KubernetesSource&) = delete;

  abi::Source id() const override { return abi::Source::kKubernetes; }
  bool local() const override { return false; }

  // Lists once; returns the first failure.
  absl::StatusOr<Reading> Read() override;
  void HurryFirstReading() override;
  absl::Status Follow(base::EventLoop& loop, Callback callback) override;
  // Null before the first list.
  const core::BindFacts* bind_facts() const override;
  SourceState State() const override;

 private:
  class Follower;

  const kubernetes::AccessLoader load_;
  Options options_;
  std::optional<core::BindFacts> read_facts_;  // of the last Read() that succeeded
  std::unique_ptr<Follower> follower_;         // set by Follow()
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_KUBERNETES_SOURCE_H_
