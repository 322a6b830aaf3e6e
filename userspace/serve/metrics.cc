// SPDX-License-Identifier: Apache-2.0
#include "serve/metrics.h"

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "serve/metric_families.h"

namespace npg::serve {
namespace {

constexpr absl::string_view kPrefix = "nodeport_guard_";

}  // namespace

prometheus::ClientMetric::Label Label(absl::string_view name, absl::string_view value) {
  return {std::string(name), base::Printable(value)};
}

void MetricFamilies::Begin(absl::string_view prefix, absl::string_view name, absl::string_view help,
                           prometheus::MetricType type) {
  families_.push_back({absl::StrCat(prefix, name), std::string(help), type, {}});
}

void MetricFamilies::Counter(absl::string_view name, absl::string_view help) {
  Begin(kPrefix, name, help, prometheus::MetricType::Counter);
}

void MetricFamilies::Gauge(absl::string_view name, absl::string_view help) {
  Begin(kPrefix, name, help, prometheus::MetricType::Gauge);
}

void MetricFamilies::StandardCounter(absl::string_view name, absl::string_view help) {
  Begin("", name, help, prometheus::MetricType::Counter);
}

void MetricFamilies::StandardGauge(absl::string_view name, absl::string_view help) {
  Begin("", name, help, prometheus::MetricType::Gauge);
}

void MetricFamilies::Add(double value, Labels labels) {
  prometheus::MetricFamily& family = families_.back();
  prometheus::ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  if (family.type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
}

void MetricFamilies::AddTime(absl::Time time, Labels labels) {
  Add(absl::ToDoubleSeconds(time - absl::UnixEpoch()), std::move(labels));
}

std::vector<prometheus::MetricFamily> MetricFamilies::Take() {
  std::vector<prometheus::MetricFamily> families;
  absl::c_copy_if(std::exchange(families_, {}), std::back_inserter(families),
                  [](const prometheus::MetricFamily& family) { return !family.metric.empty(); });
  return families;
}

std::string MetricsText(const MetricsInput& input) {
  MetricFamilies families;
  AddConflictMetrics(input, families);
  AddGuardMetrics(input, families);
  AddProtectionMetrics(input, families);
  AddSourceMetrics(input, families);
  AddControllerMetrics(input, families);
  return prometheus::TextSerializer().Serialize(families.Take());
}

}  // namespace npg::serve
