// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <utility>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"
#include "serve/metric_families.h"
#include "serve/metrics.h"

namespace npg::serve {
namespace {

// The age is 0 for a connected source: a file may not change for months. For others it is
// the time since their last event.
absl::Duration SyncAge(const abi::SourceState& state, absl::Time now) {
  if (state.connected) return absl::ZeroDuration();
  const absl::Time last = abi::IsNever(state.last_event) ? state.since : state.last_event;
  return abi::IsNever(last) ? absl::ZeroDuration() : std::max(now - last, absl::ZeroDuration());
}

}  // namespace

void AddSourceMetrics(const MetricsInput& input, MetricFamilies& out) {
  if (!input.node.ok() || *input.node == nullptr) return;
  const inspect::GuardFacts& facts = (*input.node)->facts;
  const auto each = [&](absl::FunctionRef<void(const abi::SourceState&, Labels)> add) {
    for (const auto& [source, state] : facts.sources) {
      add(state, {Label("source", abi::Name(source))});
    }
  };
  const auto counts = [&](size_t abi::SourceState::*count) {
    each([&](const abi::SourceState& state, Labels labels) {
      out.Add(static_cast<double>(state.*count), std::move(labels));
    });
  };
  const auto times = [&](absl::Time abi::SourceState::*time) {
    each([&](const abi::SourceState& state, Labels labels) {
      if (!abi::IsNever(state.*time)) out.AddTime(state.*time, std::move(labels));
    });
  };

  out.Gauge("source_connected", "1 when the ports of the source are current, else 0.");
  each([&](const abi::SourceState& state, Labels labels) {
    out.Add(state.connected ? 1 : 0, std::move(labels));
  });
  out.Gauge("source_last_event_timestamp_seconds",
            "When the source last received data; absent when it never did.");
  times(&abi::SourceState::last_event);
  out.Gauge("source_last_reading_timestamp_seconds",
            "When the source last reported its full set of ports; absent when it never did.");
  times(&abi::SourceState::last_reading);
  out.Gauge("sync_age_seconds",
            "Time since the source last received data; 0 while it is connected.");
  each([&](const abi::SourceState& state, Labels labels) {
    out.Add(absl::ToDoubleSeconds(SyncAge(state, input.now)), std::move(labels));
  });
  out.Gauge("source_services", "Services with NodePorts that the source reports.");
  counts(&abi::SourceState::services);
  out.Gauge("source_health_check_ports", "Health check NodePorts that the source reports.");
  counts(&abi::SourceState::health_check_ports);
  out.Gauge("source_skipped", "Parts of the source's input that cannot be decoded at present.");
  counts(&abi::SourceState::skipped);
  out.Counter("source_errors_total", "Times that the source could not be read or followed.");
  each([&](const abi::SourceState& state, const Labels& labels) {
    for (const auto& row : abi::kSourceErrors) {
      out.Add(static_cast<double>(state.errors[row.value]), {labels[0], Label("kind", row.name)});
    }
  });
}

}  // namespace npg::serve
