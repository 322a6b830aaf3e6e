// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <time.h>  // NOLINT(modernize-deprecated-headers): clock_gettime() is POSIX, not <ctime>

#include <cstdint>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace npg::base {

uint64_t BootNanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

absl::Time TimeFromBoot(uint64_t boot_ns) {
  const auto age = static_cast<int64_t>(BootNanoseconds() - boot_ns);
  return absl::Now() - absl::Nanoseconds(age);
}

}  // namespace npg::base
