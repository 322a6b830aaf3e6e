// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_LOG_HEALTH_H_
#define NODEPORT_GUARD_LOG_HEALTH_H_

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace npg::log {

// The last self-probe: a connect of the controller's own through a port that
// the guard knows, of which counter, mark and nft table are then asked.
struct Probe {
  absl::Time at;
  // Why the guard is not effective, with what to do. UNAVAILABLE: why that cannot be
  // known from here, which is no fault of the guard's.
  absl::Status result;
  absl::Duration latency;  // of the probe's connect()
  bool observed = false;   // mode observe: counted, which is all there is to see
};

// Of one source: whether its first reading is applied.
struct SourceReadiness {
  std::string source;
  bool synced = false;
  std::string waiting_for;  // why it is not: its last error, or that it has not answered
};

// What the controller says of itself.
struct HealthState {
  absl::Time started = absl::Now();
  absl::Time loop_turn = absl::Now();  // when its main loop last came round
  absl::Status attached = absl::UnavailableError("not attached yet");
  absl::Status table = absl::UnavailableError("not installed yet");
  std::vector<SourceReadiness> sources;
  std::optional<Probe> probe;  // nullopt until the first one is done
  uint64_t probes_succeeded = 0;
  uint64_t probes_failed = 0;
};

// The body and the status code of an endpoint in one: what was looked at, a line each.
struct HealthAnswer {
  bool ok = false;
  std::vector<std::string> lines;  // "ok   main loop: ..." or "FAIL self-probe: ..."
};

// Whether the controller lives and the guard takes effect. Says nothing of the
// API server: to restart a guard because a cluster is ill helps nobody.
HealthAnswer Liveness(const HealthState& state, absl::Time now);

// Whether the node is guarded as it was asked to be: attached, nft table in
// place, the first reading of every source applied.
HealthAnswer Readiness(const HealthState& state);

// Where the controller's thread leaves its state and others read it.
class Health {
 public:
  void Update(absl::FunctionRef<void(HealthState&)> change);
  HealthState Read() const;

 private:
  mutable std::mutex mutex_;
  HealthState state_;
};

}  // namespace npg::log

#endif  // NODEPORT_GUARD_LOG_HEALTH_H_
