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

// Conflicts that have series of their own: each costs its reader four.
inline constexpr size_t kMaxConflictSeries = 100;

struct BuildInfo {
  std::string version;
  std::string commit;
  std::string libbpf;
  unsigned abi = 0;
};

// All that metrics are made of, at one time.
struct MetricsInput {
  absl::Time now;
  NodeView::Result node = absl::UnavailableError("not read yet");  // or why there is no status
  log::HealthState health;
  absl::StatusOr<ProcessUsage> process = absl::UnavailableError("not read yet");
  KubeEventCounts kube_events;
  BuildInfo build;
};

// The metrics in Prometheus' text format; docs/metrics.md says what each means.
// What is not known is left out, but for nodeport_guard_status_success, which
// says so.
std::string MetricsText(const MetricsInput& input);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_METRICS_H_
