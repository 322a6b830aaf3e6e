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
#include "sources/source.h"
#include "telemetry/health.h"
#include "telemetry/repeated_fault.h"

namespace npg::controller {

// Keeps telemetry::Health up to date while the controller runs: probes every
// few seconds and says what came of it, and which sources are applied.
class HealthKeeper {
 public:
  using Sources = std::vector<std::unique_ptr<sources::Source>>;
  using Probe = std::function<absl::StatusOr<absl::Duration>()>;

  // All outlive this. `repair` is called after a probe that failed, and may
  // put right what the next one then finds.
  HealthKeeper(telemetry::Health& health, base::EventLoop& loop, const Sources& sources,
               Probe probe, std::function<void()> repair);

  // The guard is attached and its table in place: from now on it is probed.
  void Start();

  // The source's reading is in the maps.
  void SourceApplied(absl::string_view source);

  // The nft table was put back (OK), or could not be.
  void TableRestored(const absl::Status& status);

 private:
  void Turn();
  std::vector<telemetry::SourceReadiness> Readiness() const;

  telemetry::Health& health_;
  base::EventLoop& loop_;
  const Sources& sources_;
  Probe probe_;
  std::function<void()> repair_;
  absl::flat_hash_set<std::string> applied_;
  telemetry::RepeatedFault fault_{"self-probe"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_HEALTH_KEEPER_H_
