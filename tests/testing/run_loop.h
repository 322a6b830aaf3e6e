// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_RUN_LOOP_H_
#define NODEPORT_GUARD_TESTS_TESTING_RUN_LOOP_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/event_loop.h"

namespace npg::testing {

// Runs the loop until Stop(). DEADLINE_EXCEEDED if nothing has stopped it after `limit`.
absl::Status RunLoop(base::EventLoop& loop, absl::Duration limit = absl::Seconds(10));

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_RUN_LOOP_H_
