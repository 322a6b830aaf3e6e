// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_METRICS_H_
#define NODEPORT_GUARD_SERVE_METRICS_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "log/health.h"
#include "serve/kube_event_counts.h"
#include "serve/node_view.h"
#include "serve/process_usage.h"

namespace npg::serve {

// Conflicts that have their own series: five for each, four for UDP.
inline constexpr size_t kMaxConflictSeries = 100;

struct BuildInfo {
  std::string version;
  std::string commit;
  std::string libbpf;
  unsigned abi = 0;
};

// The input of the metrics, at one time.
struct MetricsInput {
  absl::Time now;
  NodeView::Result node = absl::UnavailableError("not read yet");  // or why there is no status
  log::HealthState health;
  absl::StatusOr<ProcessUsage> process = absl::UnavailableError("not read yet");
  KubeEventCounts kube_events;
  BuildInfo build;
};

// The metrics in Prometheus' text format; docs/metrics.md describes each. Omits unknown
// ones; nodeport_guard_status_success is then 0.
std::string MetricsText(const MetricsInput& input);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_METRICS_H_
