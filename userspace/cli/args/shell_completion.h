// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_SHELL_COMPLETION_H_
#define NODEPORT_GUARD_CLI_ARGS_SHELL_COMPLETION_H_

#include <string>

#include "cli/args/cli11.h"

namespace npg::cli {

// Completion scripts of the commands and flags of `app`: for bash, to be sourced
// (needs nothing of the package bash-completion), and for zsh, as the file
// _nodeport-guard in a folder of $fpath.
std::string BashCompletion(const CLI::App& app);
std::string ZshCompletion(const CLI::App& app);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_SHELL_COMPLETION_H_
