// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_ENVIRONMENT_H_
#define NODEPORT_GUARD_CLI_ARGS_ENVIRONMENT_H_

#include <functional>
#include <optional>
#include <string>

namespace npg::cli {

// Looks up an environment variable.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// Reads the environment of this process. No thread may change the environment.
std::optional<std::string> ReadEnvironment(const std::string& name);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_ENVIRONMENT_H_
