// SPDX-License-Identifier: Apache-2.0
#include "log/health.h"

#include <mutex>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace npg::log {
namespace {

// Three times the interval of probes: more than that and the five seconds that a probe takes at
// most. (Setting the clock makes ages wrong for at most one turn.)
constexpr absl::Duration kLimit = absl::Seconds(15);

std::string Seconds(absl::Duration duration) {
  return absl::StrCat(absl::ToDoubleSeconds(absl::Trunc(duration, absl::Milliseconds(1))), " s");
}

void Add(HealthAnswer& answer, bool ok, absl::string_view what, absl::string_view text) {
  answer.ok = answer.ok && ok;
  answer.lines.push_back(absl::StrCat(ok ? "ok   " : "FAIL ", what, ": ", text));
}

void AddProbe(const HealthState& state, absl::Time now, HealthAnswer& answer) {
  constexpr absl::string_view kWhat = "self-probe";
  if (!state.probe) {
    Add(answer, now - state.started < kLimit, kWhat, "not done yet");
    return;
  }
  const absl::Duration age = now - state.probe->at;
  if (!state.probe->result.ok() && !state.standing_aside.empty()) {
    const absl::string_view fault = state.probe->result.message();
    // A restart would find the same rules, and the kubelet would restart the controller again and
    // again. But it may help a guard that also lacks a program or its table.
    Add(answer, state.attached.ok() && state.table.ok(), kWhat,
        absl::StrContains(state.standing_aside, fault)
            ? state.standing_aside
            : absl::StrCat(fault, "; ", state.standing_aside));
  } else if (absl::IsUnavailable(state.probe->result)) {
    // Restarts would not help, and the guard may well work.
    Add(answer, true, kWhat, absl::StrCat("not proven: ", state.probe->result.message()));
  } else if (!state.probe->result.ok()) {
    Add(answer, false, kWhat, state.probe->result.message());
  } else if (age > kLimit) {
    Add(answer, false, kWhat, absl::StrCat("the last one was ", Seconds(age), " ago"));
  } else if (state.probe->observed) {
    Add(answer, true, kWhat,
        absl::StrCat("a connect to a known port was seen ", Seconds(age),
                     " ago (counted, as mode observe does)"));
  } else {
    Add(answer, true, kWhat,
        absl::StrCat("a connect to a guarded port was exempted ", Seconds(age), " ago (counter, ",
                     "mark and nft table seen at work)"));
  }
}

}  // namespace

HealthAnswer Liveness(const HealthState& state, absl::Time now) {
  HealthAnswer answer{true, {}};
  const absl::Duration age = now - state.loop_turn;
  Add(answer, age <= kLimit, "main loop", absl::StrCat("came round ", Seconds(age), " ago"));
  AddProbe(state, now, answer);
  return answer;
}

HealthAnswer Readiness(const HealthState& state) {
  HealthAnswer answer{true, {}};
  // Only when it is lost, which takes another process that removes the pins.
  if (!state.lock.ok()) Add(answer, false, "lock on the pins", state.lock.message());
  Add(answer, state.attached.ok(), "programs",
      state.attached.ok() ? "attached" : state.attached.message());
  Add(answer, state.table.ok(), "nft table", state.table.ok() ? "in place" : state.table.message());
  if (!state.standing_aside.empty()) Add(answer, false, "exemption", state.standing_aside);
  for (const SourceReadiness& source : state.sources) {
    Add(answer, source.synced, absl::StrCat("source ", source.source),
        source.synced ? "first reading applied" : source.waiting_for);
  }
  return answer;
}

void Health::Update(absl::FunctionRef<void(HealthState&)> change) {
  const std::lock_guard lock(mutex_);
  change(state_);
}

HealthState Health::Read() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

}  // namespace npg::log
