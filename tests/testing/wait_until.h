// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_WAIT_UNTIL_H_
#define NODEPORT_GUARD_TESTS_TESTING_WAIT_UNTIL_H_

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"

namespace npg::testing {

// How long a test waits for an expected event. It only bounds a hang: scripts/kernel-matrix
// runs tests in machines that are ten times slower.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

// Checks `condition` every few milliseconds until it is true or `deadline` has passed;
// returns its last result. For conditions without a descriptor to wait on.
bool WaitUntil(absl::Duration deadline, absl::FunctionRef<bool()> condition);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_WAIT_UNTIL_H_
