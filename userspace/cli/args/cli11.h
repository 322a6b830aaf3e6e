// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_CLI11_H_
#define NODEPORT_GUARD_CLI_ARGS_CLI11_H_

// CLI11 is one header that takes eight seconds to compile; only the files that define
// and read flags include it. Headers name its classes by these declarations.
namespace CLI {
class App;
class Option;
}  // namespace CLI

#endif  // NODEPORT_GUARD_CLI_ARGS_CLI11_H_
