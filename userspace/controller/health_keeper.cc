// SPDX-License-Identifier: Apache-2.0
#include "controller/health_keeper.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "sources/source.h"
#include "telemetry/health.h"

namespace npg::controller {
namespace {

// What does not take effect any more is known within this time.
constexpr absl::Duration kBetweenProbes = absl::Seconds(5);
// The first one may wait until the start is over.
constexpr absl::Duration kFirstProbe = absl::Milliseconds(20);

}  // namespace

HealthKeeper::HealthKeeper(telemetry::Health& health, base::EventLoop& loop, const Sources& sources,
                           Probe probe, std::function<void()> repair)
    : health_(health),
      loop_(loop),
      sources_(sources),
      probe_(std::move(probe)),
      repair_(std::move(repair)) {}

void HealthKeeper::Start() {
  health_.Update([this](telemetry::HealthState& state) {
    state.started = state.loop_turn = absl::Now();
    state.attached = true;
    state.table = absl::OkStatus();
    state.sources = Readiness();
  });
  loop_.After(kFirstProbe, [this] { Turn(); });
}

void HealthKeeper::SourceApplied(absl::string_view source) {
  if (!applied_.insert(std::string(source)).second) return;
  health_.Update([this](telemetry::HealthState& state) { state.sources = Readiness(); });
}

void HealthKeeper::TableRestored(const absl::Status& status) {
  health_.Update([&status](telemetry::HealthState& state) { state.table = status; });
}

std::vector<telemetry::SourceReadiness> HealthKeeper::Readiness() const {
  std::vector<telemetry::SourceReadiness> all;
  for (const auto& source : sources_) {
    telemetry::SourceReadiness readiness;
    readiness.source = std::string(source->name());
    readiness.synced = applied_.contains(readiness.source);
    if (!readiness.synced) {
      const sources::SourceState state = source->State();
      readiness.waiting_for =
          state.last_error.empty() ? "it has not answered yet" : state.last_error;
    }
    all.push_back(std::move(readiness));
  }
  return all;
}

void HealthKeeper::Turn() {
  const absl::StatusOr<absl::Duration> latency = probe_();
  fault_.Note(latency.status());
  health_.Update([&](telemetry::HealthState& state) {
    state.loop_turn = absl::Now();
    state.probe = {state.loop_turn, latency.status(), latency.value_or(absl::ZeroDuration())};
    ++(latency.ok() ? state.probes_succeeded : state.probes_failed);
    state.sources = Readiness();
  });
  // What is repaired now still shows as bad until the next probe has proved it.
  if (!latency.ok()) repair_();
  loop_.After(kBetweenProbes, [this] { Turn(); });
}

}  // namespace npg::controller
