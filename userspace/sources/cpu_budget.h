// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_CPU_BUDGET_H_
#define NODEPORT_GUARD_SOURCES_CPU_BUDGET_H_

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"

namespace npg::sources {

// Limits the processor time of a repeated task to a share of the time that passes, but for bursts:
// a token bucket. Times are nanoseconds of one clock that does not go back.
class CpuBudget {
 public:
  struct Limits {
    double share = 0.01;
    // That may be spent at once, and that may be owed.
    absl::Duration burst = absl::Milliseconds(500);
  };

  CpuBudget(const Limits& limits, uint64_t now_ns)
      : limits_(limits), left_(limits.burst), at_ns_(now_ns) {}

  void Spend(absl::Duration cpu, uint64_t now_ns) {
    left_ = std::max(LeftAt(now_ns) - cpu, -limits_.burst);
    at_ns_ = now_ns;
  }

  // How long to wait until there is something left to spend.
  absl::Duration Wait(uint64_t now_ns) const {
    const absl::Duration left = LeftAt(now_ns);
    return left > absl::ZeroDuration() ? absl::ZeroDuration()
                                       : -left / limits_.share + absl::Milliseconds(1);
  }

 private:
  absl::Duration LeftAt(uint64_t now_ns) const {
    const absl::Duration passed = absl::Nanoseconds(static_cast<int64_t>(now_ns - at_ns_));
    return std::min(left_ + passed * limits_.share, limits_.burst);
  }

  const Limits limits_;
  absl::Duration left_;
  uint64_t at_ns_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_CPU_BUDGET_H_
