// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_PROGRAM_H_
#define NODEPORT_GUARD_CLI_PROGRAM_H_

#include <functional>

#include "cli/args/options.h"

namespace npg::cli {

// Parses the arguments of main(), executes the command, and returns the exit code. Prints
// an error as one line on standard error. `adjust` may change the parsed options; it may be
// empty.
int RunProgram(int argc, char** argv, const std::function<void(Options&)>& adjust);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_PROGRAM_H_
