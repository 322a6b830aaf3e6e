// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/btree_map.h"
#include "absl/strings/str_cat.h"
#include "core/conflicts.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/service_name.h"
#include "inspect/status.h"
#include "serve/metric_families.h"
#include "serve/metrics.h"

namespace npg::serve {
namespace {

struct Series {
  const inspect::GuardedConflict* conflict;
  Labels labels;
  uint64_t waiting = 0;  // in the accept queues of all its sockets
};

Labels LabelsOf(const inspect::GuardedConflict& conflict) {
  // What is no Service (rules of another program, IPVS) is in no namespace.
  const core::ServiceNameParts service = core::IsServiceName(conflict.service)
                                             ? *core::SplitServiceName(conflict.service)
                                             : core::ServiceNameParts{"", conflict.service};
  return {Label("port", absl::StrCat(conflict.key.port)),
          Label("protocol", core::ProtocolName(conflict.key.protocol)),
          Label("service_namespace", service.ns),
          Label("service_name", service.name),
          Label("listener", core::AddressText(conflict.listener.address)),
          Label("process", conflict.owner.comm)};
}

// The series with the most exemptions. Sockets with equal labels (of one process, with
// SO_REUSEPORT) are one series.
std::vector<Series> BusiestSeries(const inspect::Status& status, size_t& omitted) {
  std::vector<size_t> order(status.conflicts.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto connects = [&](size_t i) {
    const core::PortHistory& history = status.conflicts[i].history;
    return std::make_pair(history.exempted, history.observed);
  };
  absl::c_stable_sort(order, [&](size_t a, size_t b) { return connects(a) > connects(b); });
  std::vector<Series> series;
  absl::btree_map<Labels, size_t> seen;  // the index in `series`; behind its end: omitted
  for (const size_t i : order) {
    const inspect::GuardedConflict& conflict = status.conflicts[i];
    const auto [at, fresh] = seen.emplace(LabelsOf(conflict), seen.size());
    if (fresh && at->second < kMaxConflictSeries) series.push_back({&conflict, at->first});
    if (at->second < series.size()) series[at->second].waiting += conflict.listener.accept_queue;
  }
  omitted = seen.size() - series.size();
  return series;
}

void AddCounts(const inspect::Status& status, MetricFamilies& out) {
  absl::btree_map<std::pair<core::Protocol, inspect::ConflictState>, size_t> counts;
  for (const inspect::GuardedConflict& conflict : status.conflicts) {
    ++counts[{conflict.key.protocol, conflict.state}];
  }
  out.Gauge("conflicts",
            "Listeners of the host that have the port of a NodePort, by what happens to connects.");
  for (const core::Protocol protocol : {core::Protocol::kTcp, core::Protocol::kUdp}) {
    for (const inspect::ConflictState state : inspect::kConflictStates) {
      out.Add(static_cast<double>(counts[{protocol, state}]),
              {Label("protocol", core::ProtocolName(protocol)), Label("state", Name(state))});
    }
  }
}

}  // namespace

void AddConflictMetrics(const MetricsInput& input, MetricFamilies& out) {
  out.Gauge("conflicts_not_accepting",
            "Guarded TCP listeners for which connections that waited a minute ago still wait.");
  if (input.health.not_accepting) out.Add(static_cast<double>(*input.health.not_accepting));
  if (!input.node.ok() || *input.node == nullptr) return;
  const inspect::Status& status = **input.node;
  AddCounts(status, out);

  size_t omitted = 0;
  const std::vector<Series> series = BusiestSeries(status, omitted);
  out.Gauge("conflicts_omitted",
            "Conflicts that have no series of their own: those with the fewest exemptions.");
  out.Add(static_cast<double>(omitted));
  out.Gauge("conflict_info", "A conflict and what happens to connects to it; always 1.");
  for (const Series& one : series) {
    Labels labels = one.labels;
    labels.push_back(Label("state", Name(one.conflict->state)));
    out.Add(1, std::move(labels));
  }
  out.Counter("conflict_exempted_connects_total",
              "Connects to the port of the conflict that were exempted.");
  for (const Series& one : series) {
    out.Add(static_cast<double>(one.conflict->history.exempted), one.labels);
  }
  out.Counter("conflict_observed_connects_total",
              "Connects to the port of the conflict that mode observe would have exempted.");
  for (const Series& one : series) {
    out.Add(static_cast<double>(one.conflict->history.observed), one.labels);
  }
  out.Gauge("conflict_since_timestamp_seconds",
            "When the guard first knew that the port of the conflict is a NodePort.");
  for (const Series& one : series) {
    if (one.conflict->history.since) out.AddTime(*one.conflict->history.since, one.labels);
  }
  out.Gauge("accept_queue",
            "Connections that wait to be accepted by the listener of the conflict; TCP only.");
  for (const Series& one : series) {
    if (one.conflict->key.protocol != core::Protocol::kTcp) continue;
    out.Add(static_cast<double>(one.waiting), one.labels);
  }
}

}  // namespace npg::serve
