// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_WAIT_UNTIL_H_
#define NODEPORT_GUARD_TESTS_TESTING_WAIT_UNTIL_H_

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"

namespace npg::testing {

// Asks `condition` every few milliseconds until it is true or `deadline` is
// over; returns its last answer. For what cannot be polled by descriptor.
bool WaitUntil(absl::Duration deadline, absl::FunctionRef<bool()> condition);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_WAIT_UNTIL_H_
