// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_SOCKET_OF_FORK_H_
#define NODEPORT_GUARD_TESTS_TESTING_SOCKET_OF_FORK_H_

#include <functional>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace npg::testing {

// The socket that `open` makes in a forked copy of this process, which passes it on
// (SCM_RIGHTS) and ends.
absl::StatusOr<base::UniqueFd> SocketOfFork(
    const std::function<absl::StatusOr<base::UniqueFd>()>& open);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_SOCKET_OF_FORK_H_
