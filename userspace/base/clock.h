// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_CLOCK_H_
#define NODEPORT_GUARD_BASE_CLOCK_H_

#include <cstdint>

#include "absl/time/time.h"

namespace npg::base {

// Nanoseconds of CLOCK_BOOTTIME, the clock of the BPF programs' timestamps.
uint64_t BootNanoseconds();

// The wall-clock time of `boot_ns` on CLOCK_BOOTTIME, by the present offset of the clocks.
absl::Time TimeFromBoot(uint64_t boot_ns);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_CLOCK_H_
