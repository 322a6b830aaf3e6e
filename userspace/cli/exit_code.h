// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_EXIT_CODE_H_
#define NODEPORT_GUARD_CLI_EXIT_CODE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace npg::cli {

// Exit codes, a contract with scripts: see the man page.
inline constexpr int kExitOk = 0;
inline constexpr int kExitRuntimeError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitConflicts = 3;
inline constexpr int kExitNotCapable = 4;
inline constexpr int kExitCannotTell = 5;

// An invalid flag, value or command: INVALID_ARGUMENT, with a payload that
// distinguishes it from an EINVAL of the kernel.
absl::Status UsageError(absl::string_view message);

bool IsUsageError(const absl::Status& status);

// Maps a status to an exit code: usage errors 2; what the node lacks or forbids
// (FAILED_PRECONDITION, PERMISSION_DENIED, UNIMPLEMENTED) 4; every other error 1.
int ExitCode(const absl::Status& status);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_EXIT_CODE_H_
