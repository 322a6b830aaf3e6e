// SPDX-License-Identifier: Apache-2.0
#include "cli/metrics_page.h"

#include <bpf/libbpf.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "abi/entries.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "cli/build_info.h"
#include "log/health.h"
#include "serve/kube_event_counts.h"
#include "serve/metrics.h"
#include "serve/node_view.h"
#include "serve/process_usage.h"

namespace npg::cli {
namespace {

// Concurrent scrapes, as by a pair of Prometheus servers, share a reading.
constexpr absl::Duration kMaxAge = absl::Seconds(1);

// libbpf's "v1.1" without the "v", as is usual in Prometheus labels.
std::string LibbpfVersion() {
  std::string version = libbpf_version_string();
  if (!version.empty() && version.front() == 'v') version.erase(0, 1);
  return version;
}

}  // namespace

std::function<std::string()> MetricsPage(std::shared_ptr<serve::NodeView> node,
                                         std::shared_ptr<const log::Health> health,
                                         std::function<serve::KubeEventCounts()> kube_events) {
  return [node = std::move(node), health = std::move(health),
          kube_events = std::move(kube_events)] {
    serve::MetricsInput input;
    input.node = node->Get(kMaxAge);
    input.health = health->Read();
    input.process = serve::ReadProcessUsage();
    if (kube_events) input.kube_events = kube_events();
    input.build = {std::string(Version()), std::string(Commit()), LibbpfVersion(), abi::kVersion};
    input.now = absl::Now();
    return serve::MetricsText(input);
  };
}

}  // namespace npg::cli
