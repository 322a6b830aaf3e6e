// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_LOG_HEALTH_H_
#define NODEPORT_GUARD_LOG_HEALTH_H_

#include <cstddef>
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

// The last self-probe: a connect of the controller to its canary, after which it reads
// counter, mark and nft table.
struct Probe {
  absl::Time at;
  // Why the guard is not effective, with a remedy. UNAVAILABLE: why the controller cannot
  // tell, which is no fault of the guard.
  absl::Status result;
  absl::Duration latency;  // of the probe's connect()
  bool observed = false;   // mode observe: only the counter can be checked
};

// Whether the first reading of a source is applied.
struct SourceReadiness {
  std::string source;
  bool synced = false;
  std::string waiting_for;  // why it is not: its last error, or that it has not answered
};

// The state that the controller reports.
struct HealthState {
  absl::Time started = absl::Now();
  absl::Time loop_turn = absl::Now();  // the last turn of its main loop
  // OK: the controller has the lock on the pins. Otherwise why not.
  absl::Status lock;
  absl::Status attached = absl::UnavailableError("not attached yet");
  absl::Status table = absl::UnavailableError("not installed yet");
  std::vector<SourceReadiness> sources;
  std::optional<Probe> probe;  // nullopt until the first one is done
  std::string standing_aside;  // for what, and why; empty when the guard does not stand aside
  uint64_t probes_succeeded = 0;
  uint64_t probes_failed = 0;
  // Guarded listeners that do not accept; nullopt before the first look, and when they cannot be
  // listed.
  std::optional<size_t> not_accepting;
};

// The body and the status code of an endpoint: one line for each check.
struct HealthAnswer {
  bool ok = false;
  std::vector<std::string> lines;  // "ok   main loop: ..." or "FAIL self-probe: ..."
};

// Whether the controller is alive and the guard takes effect. Ignores the API server, and rules of
// the node for which the guard stands aside, because restarting the controller repairs neither.
HealthAnswer Liveness(const HealthState& state, absl::Time now);

// Whether the node is guarded as configured, by this controller: it has the lock on the
// pins, programs are attached, the nft table is in place, the first reading of every source
// is applied, and the guard does not stand aside.
HealthAnswer Readiness(const HealthState& state);

// The state that the controller's thread writes and other threads read.
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
