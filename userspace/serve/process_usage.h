// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_PROCESS_USAGE_H_
#define NODEPORT_GUARD_SERVE_PROCESS_USAGE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace npg::serve {

// The resources that a process uses.
struct ProcessUsage {
  absl::Duration cpu;  // of all its threads, in user and in kernel mode
  uint64_t resident_bytes = 0;
  uint64_t virtual_bytes = 0;
  uint64_t open_fds = 0;
  uint64_t max_fds = 0;  // the soft limit; UINT64_MAX when there is none
  uint64_t threads = 0;
  absl::Time started;
};

// Reads those of this process from `proc`, a procfs.
absl::StatusOr<ProcessUsage> ReadProcessUsage(const std::string& proc = "/proc");

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_PROCESS_USAGE_H_
