// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_PROGRAM_H_
#define NODEPORT_GUARD_CLI_PROGRAM_H_

#include <functional>

#include "cli/args/options.h"

namespace npg::cli {

// The whole of nodeport-guard: parses the arguments of main(), executes the command, and
// returns the exit code. Errors are one line on standard error. `adjust` may change what
// was parsed; it may be empty.
int RunProgram(int argc, char** argv, const std::function<void(Options&)>& adjust);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_PROGRAM_H_
