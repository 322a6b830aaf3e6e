// SPDX-License-Identifier: Apache-2.0
#include <exception>
#include <iostream>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "base/printable.h"
#include "cli/args/command_line.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "cli/execute.h"
#include "cli/exit_code.h"

namespace {

int Main(const std::vector<std::string>& args) {
  npg::cli::CommandLine command_line;
  const absl::StatusOr<npg::cli::Options> options =
      command_line.Parse(args, npg::cli::ReadEnvironment);
  const absl::StatusOr<int> exit_code =
      options.ok()
          ? std::visit([](const auto& asked) { return npg::cli::Execute(asked); }, *options)
          : absl::StatusOr<int>(options.status());
  if (exit_code.ok()) return *exit_code;
  std::string line(exit_code.status().message());
  if (npg::cli::IsUsageError(exit_code.status())) {
    line += "; see '" + command_line.HelpCommand() + "'";
  }
  // One line, whatever a file name or a message of somebody else brings along.
  std::cerr << "nodeport-guard: " << npg::base::Printable(line) << "\n";
  return npg::cli::ExitCode(exit_code.status());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Main({argv + (argc > 0 ? 1 : 0), argv + argc});
  } catch (const std::exception& error) {
    // Nothing of ours throws; what is left is memory that ran out.
    std::cerr << "nodeport-guard: " << error.what() << "\n";
    return npg::cli::kExitRuntimeError;
  }
}
