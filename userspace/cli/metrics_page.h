// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_METRICS_PAGE_H_
#define NODEPORT_GUARD_CLI_METRICS_PAGE_H_

#include <functional>
#include <memory>
#include <string>

#include "log/health.h"
#include "serve/kube_event_counts.h"
#include "serve/node_view.h"

namespace npg::cli {

// Returns the content of /metrics. Each call, from any thread, gathers it anew.
// `kube_events` may be empty when no Events are sent.
std::function<std::string()> MetricsPage(std::shared_ptr<serve::NodeView> node,
                                         std::shared_ptr<const log::Health> health,
                                         std::function<serve::KubeEventCounts()> kube_events);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_METRICS_PAGE_H_
