// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_HEALTH_KEEPER_H_
#define NODEPORT_GUARD_CONTROLLER_HEALTH_KEEPER_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "log/health.h"
#include "log/repeated_fault.h"
#include "sources/source.h"

namespace npg::controller {

// Keeps log::Health up to date while the controller runs: probes every few seconds,
// and records the results and which sources are applied.
class HealthKeeper {
 public:
  using Sources = std::vector<std::unique_ptr<sources::Source>>;

  // Callbacks to the controller. All outlive this.
  struct Questions {
    std::function<absl::Status()> lock;      // whether this controller has it; may take it
    std::function<absl::Status()> programs;  // whether all are attached
    std::function<absl::Status()> table;     // whether it is in place
    // Begins a probe, or goes on with it; nullopt: it is to be called again soon.
    std::function<std::optional<absl::StatusOr<absl::Duration>>()> probe;
    // Called once, when the first probe has ended.
    std::function<void()> probed;
    // Why the guard stands aside; empty when it does not.
    std::function<std::string()> aside;
    // OK when the maps have the desired state; otherwise why not.
    std::function<absl::Status()> applied;
    // Called when the probe failed or a program is not attached; may repair the fault
    // before the next probe.
    std::function<void()> repair;
  };

  // Probes every `between`, so that a fault is known within that time.
  HealthKeeper(log::Health& health, base::EventLoop& loop, const Sources& sources, bool observing,
               absl::Duration between, Questions questions);

  // Probes, and goes on with it. Call it once the guard is attached and its table in place.
  void Start();

  // The answer to `aside` has changed.
  void AsideChanged();

  // The source has reported its full set of ports.
  void SourceRead(absl::string_view source);

 private:
  void Turn();
  std::vector<log::SourceReadiness> Readiness() const;

  log::Health& health_;
  base::EventLoop& loop_;
  const Sources& sources_;
  const bool observing_;
  const absl::Duration between_;
  const Questions questions_;
  absl::flat_hash_set<std::string> read_;
  bool probed_ = false;
  log::RepeatedFault fault_{"self-probe"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_HEALTH_KEEPER_H_
