// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_GROWTH_BENCH_H_
#define NODEPORT_GUARD_TESTS_BENCH_GROWTH_BENCH_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/growth.h"

namespace npg::bench {

// How the costs of the guard grow with NodePorts and flows. Measures connects and packets for half
// of `time` each, and the controller for three times as long, but at least five rounds. Moves this
// process to its own node for good. CANCELLED if `stop` returns true.
absl::StatusOr<std::vector<Growth>> MeasureGrowth(absl::Duration time,
                                                  absl::FunctionRef<bool()> stop);

// Its parts.

// What connect() costs over an empty program, by the number of NodePorts in the map. The caller is
// in the cgroup at this path, in a network namespace of its own, and stays on one CPU.
absl::StatusOr<Growth> ConnectGrowth(const std::string& cgroup, absl::Duration time,
                                     absl::FunctionRef<bool()> stop);

// What a request and its response cost over a chain without rules, by the number of live flows.
// The caller stays on one CPU.
absl::StatusOr<Growth> PacketGrowth(absl::Duration time, absl::FunctionRef<bool()> stop);

// The memory and the processor time of a controller with source kubernetes by the number of
// NodePort Services, and how long it takes to learn many NodePorts at once.
absl::StatusOr<std::vector<Growth>> ControllerGrowth(absl::Duration time,
                                                     absl::FunctionRef<bool()> stop);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_GROWTH_BENCH_H_
