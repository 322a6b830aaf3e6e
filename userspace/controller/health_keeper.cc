// SPDX-License-Identifier: Apache-2.0
#include "controller/health_keeper.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "log/health.h"
#include "sources/source.h"

namespace npg::controller {
namespace {

// Between two turns of a probe that has to wait for something.
constexpr absl::Duration kProbeTurn = absl::Milliseconds(10);

}  // namespace

HealthKeeper::HealthKeeper(log::Health& health, base::EventLoop& loop, const Sources& sources,
                           bool observing, absl::Duration between, Questions questions)
    : health_(health),
      loop_(loop),
      sources_(sources),
      observing_(observing),
      between_(between),
      questions_(std::move(questions)) {}

void HealthKeeper::Start() {
  health_.Update([this](log::HealthState& state) {
    state.loop_turn = absl::Now();
    state.lock = questions_.lock();
    state.attached = questions_.programs();
    state.table = questions_.table();
    state.standing_aside = questions_.aside();
    state.sources = Readiness();
  });
  // At once: a guard that has just been attached exempts nothing before its first probe.
  Turn();
}

void HealthKeeper::AsideChanged() {
  health_.Update([this](log::HealthState& state) { state.standing_aside = questions_.aside(); });
}

void HealthKeeper::SourceRead(absl::string_view source) {
  if (!read_.insert(std::string(source)).second) return;
  health_.Update([this](log::HealthState& state) { state.sources = Readiness(); });
}

std::vector<log::SourceReadiness> HealthKeeper::Readiness() const {
  const absl::Status applied = questions_.applied();
  std::vector<log::SourceReadiness> all;
  for (const auto& source : sources_) {
    log::SourceReadiness readiness;
    readiness.source = std::string(source->name());
    const bool read = read_.contains(readiness.source);
    readiness.synced = read && applied.ok();
    if (!read) {
      const sources::SourceState state = source->State();
      readiness.waiting_for =
          state.last_error.empty() ? "it has not answered yet" : state.last_error;
    } else if (!applied.ok()) {
      readiness.waiting_for = std::string(applied.message());
    }
    all.push_back(std::move(readiness));
  }
  return all;
}

void HealthKeeper::Turn() {
  const std::optional<absl::StatusOr<absl::Duration>> probed = questions_.probe();
  if (!probed) {
    loop_.After(kProbeTurn, [this] { Turn(); });
    return;
  }
  const absl::StatusOr<absl::Duration>& latency = *probed;
  const absl::Status lock = questions_.lock();
  const absl::Status programs = questions_.programs();
  const absl::Status table = questions_.table();
  fault_.Note(latency.status());
  health_.Update([&](log::HealthState& state) {
    state.loop_turn = absl::Now();
    state.lock = lock;
    state.attached = programs;
    state.table = table;
    state.probe = {state.loop_turn, latency.status(), latency.value_or(absl::ZeroDuration()),
                   observing_};
    state.standing_aside = questions_.aside();
    ++(latency.ok() ? state.probes_succeeded : state.probes_failed);
    state.sources = Readiness();
  });
  // A part that is repaired now stays bad until the next probe succeeds.
  if (!latency.ok() || !programs.ok()) questions_.repair();
  if (!probed_) questions_.probed();
  probed_ = true;
  loop_.After(between_, [this] { Turn(); });
}

}  // namespace npg::controller
