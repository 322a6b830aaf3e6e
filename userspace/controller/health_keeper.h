// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_HEALTH_KEEPER_H_
#define NODEPORT_GUARD_CONTROLLER_HEALTH_KEEPER_H_

#include <functional>
#include <memory>
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

// Keeps log::Health up to date while the controller runs: probes every
// few seconds and says what came of it, and which sources are applied.
class HealthKeeper {
 public:
  using Sources = std::vector<std::unique_ptr<sources::Source>>;

  // What it asks the controller for. All outlive this.
  struct Questions {
    std::function<absl::Status()> programs;  // whether all are attached
    std::function<absl::Status()> table;     // whether it is in place
    std::function<absl::StatusOr<absl::Duration>()> probe;
    // Why not all that is wanted is in the maps, if so; OK otherwise.
    std::function<absl::Status()> applied;
    // Called after a look that found something wrong, and may put right what the
    // next one then finds.
    std::function<void()> repair;
  };

  // Probes every `between`: what does not take effect any more is known within that time.
  HealthKeeper(log::Health& health, base::EventLoop& loop, const Sources& sources, bool observing,
               absl::Duration between, Questions questions);

  // The guard is attached and its table in place: from now on it is probed.
  void Start();

  // The source has stated all it knows.
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
  log::RepeatedFault fault_{"self-probe"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_HEALTH_KEEPER_H_
