// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "serve/json_field.h"
#include "serve/metric_families.h"
#include "serve/metrics.h"

namespace npg::serve {
namespace {

using Json = nlohmann::ordered_json;

// Silence of a source that is connected is no age: a file does not change for
// months. Of one that is not, what it last said is as old as that.
absl::Duration SyncAge(const Json& source, absl::Time now) {
  if (IsTrue(Field(source, "connected"))) return absl::ZeroDuration();
  std::optional<absl::Time> heard = TimeIn(Field(source, "last_event"));
  if (!heard) heard = TimeIn(Field(source, "since"));
  return heard ? std::max(now - *heard, absl::ZeroDuration()) : absl::ZeroDuration();
}

}  // namespace

void AddSourceMetrics(const MetricsInput& input, MetricFamilies& out) {
  if (!input.node.ok() || *input.node == nullptr) return;
  const Json& sources = Field((*input.node)->document, "sources");
  const auto each = [&](absl::FunctionRef<void(const Json&, Labels)> add) {
    for (const Json& source : sources) {
      add(source, {Label("source", TextIn(Field(source, "source")))});
    }
  };
  const auto numbers = [&](const char* field) {
    each([&](const Json& source, Labels labels) {
      if (const auto value = NumberIn(Field(source, field))) out.Add(*value, std::move(labels));
    });
  };
  const auto times = [&](const char* field) {
    each([&](const Json& source, Labels labels) {
      if (const auto time = TimeIn(Field(source, field))) out.AddTime(*time, std::move(labels));
    });
  };

  out.Gauge("source_connected", "1 when what the source says is current, else 0.");
  each([&](const Json& source, Labels labels) {
    out.Add(IsTrue(Field(source, "connected")) ? 1 : 0, std::move(labels));
  });
  out.Gauge("source_last_event_timestamp_seconds",
            "When the source last heard from where it reads; absent when it never did.");
  times("last_event");
  out.Gauge("source_last_reading_timestamp_seconds",
            "When the source last stated all it knows; absent when it never did.");
  times("last_reading");
  out.Gauge("sync_age_seconds", "How old what the source last said is; 0 while it is connected.");
  each([&](const Json& source, Labels labels) {
    out.Add(absl::ToDoubleSeconds(SyncAge(source, input.now)), std::move(labels));
  });
  out.Gauge("source_services", "Services of which the source knows NodePorts.");
  numbers("services");
  out.Gauge("source_health_check_ports", "Health check NodePorts that the source knows.");
  numbers("health_check_ports");
  out.Gauge("source_skipped", "Parts of the source's input that cannot be understood, now.");
  numbers("skipped");
  out.Counter("source_errors_total", "Times that the source could not be read or followed.");
  each([&](const Json& source, const Labels& labels) {
    for (const auto& error : Field(source, "errors").items()) {
      const std::optional<double> count = NumberIn(error.value());
      if (count) out.Add(*count, {labels[0], Label("kind", error.key())});
    }
  });
}

}  // namespace npg::serve
