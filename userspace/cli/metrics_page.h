// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_METRICS_PAGE_H_
#define NODEPORT_GUARD_CLI_METRICS_PAGE_H_

#include <functional>
#include <memory>
#include <string>

#include "telemetry/health.h"
#include "telemetry/kube_event_counts.h"
#include "telemetry/node_view.h"

namespace npg::cli {

// What /metrics answers, read anew by each call, which any thread may make.
// `kube_events` may be empty where no Events are told.
std::function<std::string()> MetricsPage(std::shared_ptr<telemetry::NodeView> node,
                                         std::shared_ptr<const telemetry::Health> health,
                                         std::function<telemetry::KubeEventCounts()> kube_events);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_METRICS_PAGE_H_
