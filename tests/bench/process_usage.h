// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_BENCH_PROCESS_USAGE_H_
#define NODEPORT_GUARD_TESTS_BENCH_PROCESS_USAGE_H_

#include <sys/types.h>

#include <vector>

#include "absl/status/statusor.h"

namespace npg::bench {

// Seconds that the threads `pid` has now have run on a processor, exact to the
// nanosecond, from /proc/PID/task/TID/schedstat.
absl::StatusOr<double> CpuSeconds(pid_t pid);

// Seconds that `pid` and the calling thread were ready to run, and waited for a
// processor.
struct Waits {
  double process = 0;
  double thread = 0;
};
absl::StatusOr<Waits> WaitsSoFar(pid_t pid);

// Seconds of processor time of the children of `pid` that it has waited for, in ticks of the clock
// (10 ms), from /proc/PID/stat.
absl::StatusOr<double> CpuSecondsOfChildren(pid_t pid);

// The children that `pid` has now.
std::vector<pid_t> ChildrenOf(pid_t pid);

// Resident memory in MiB, from /proc/PID/status.
struct Memory {
  double peak = 0;  // VmHWM
  double now = 0;   // VmRSS: the sum of the two below, and of what is shared
  double anonymous = 0;
  double file = 0;
};
absl::StatusOr<Memory> MemoryOf(pid_t pid);

// From /proc/PID/smaps_rollup, where a page that several processes map counts for its share, in
// MiB.
absl::StatusOr<double> ProportionalMemory(pid_t pid);

// The peak of `pid` so far, with those of the commands that it runs now, in MiB.
double PeakWithChildren(pid_t pid);

}  // namespace npg::bench

#endif  // NODEPORT_GUARD_TESTS_BENCH_PROCESS_USAGE_H_
