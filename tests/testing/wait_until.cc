// SPDX-License-Identifier: Apache-2.0
#include "testing/wait_until.h"

#include <poll.h>

#include "absl/functional/function_ref.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace npg::testing {

bool WaitUntil(absl::Duration deadline, absl::FunctionRef<bool()> condition) {
  constexpr int kIntervalMs = 2;
  const absl::Time end = absl::Now() + deadline;
  while (!condition()) {
    if (absl::Now() >= end) return condition();
    poll(nullptr, 0, kIntervalMs);
  }
  return true;
}

}  // namespace npg::testing
