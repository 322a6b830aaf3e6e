// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_METRIC_FAMILIES_H_
#define NODEPORT_GUARD_SERVE_METRIC_FAMILIES_H_

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "serve/metrics.h"

namespace npg::serve {

using Labels = std::vector<prometheus::ClientMetric::Label>;

// A label with an untrusted value (of a process, of a user of the cluster): makes it
// printable.
prometheus::ClientMetric::Label Label(absl::string_view name, absl::string_view value);

// Collects families; names get the prefix "nodeport_guard_".
class MetricFamilies {
 public:
  // Begins a family. `name` of a counter ends in "_total".
  void Counter(absl::string_view name, absl::string_view help);
  void Gauge(absl::string_view name, absl::string_view help);
  // The same without the prefix, for names that all processes share.
  void StandardCounter(absl::string_view name, absl::string_view help);
  void StandardGauge(absl::string_view name, absl::string_view help);

  // Adds a series to the family that was begun last.
  void Add(double value, Labels labels = {});
  // Seconds since the epoch.
  void AddTime(absl::Time time, Labels labels = {});

  // The families that have a series.
  std::vector<prometheus::MetricFamily> Take();

 private:
  void Begin(absl::string_view prefix, absl::string_view name, absl::string_view help,
             prometheus::MetricType type);

  std::vector<prometheus::MetricFamily> families_;
};

// Add the metrics of one part of the input each.
void AddGuardMetrics(const MetricsInput& input, MetricFamilies& out);
void AddProtectionMetrics(const MetricsInput& input, MetricFamilies& out);
void AddSourceMetrics(const MetricsInput& input, MetricFamilies& out);
void AddConflictMetrics(const MetricsInput& input, MetricFamilies& out);
void AddControllerMetrics(const MetricsInput& input, MetricFamilies& out);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_METRIC_FAMILIES_H_
