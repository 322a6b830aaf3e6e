// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_MAN_PAGE_H_
#define NODEPORT_GUARD_CLI_ARGS_MAN_PAGE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "cli/args/cli11.h"

namespace npg::cli {

// nodeport-guard(8), in man(7) macros, of the commands and flags of `app`.
std::string ManPage(const CLI::App& app, absl::string_view version);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_MAN_PAGE_H_
