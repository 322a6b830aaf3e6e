// SPDX-License-Identifier: Apache-2.0
#include "cli/program.h"

#include <exception>
#include <functional>
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

namespace npg::cli {
namespace {

int ParseAndExecute(const std::vector<std::string>& args,
                    const std::function<void(Options&)>& adjust) {
  CommandLine command_line;
  absl::StatusOr<Options> options = command_line.Parse(args, ReadEnvironment);
  if (options.ok() && adjust) adjust(*options);
  const absl::StatusOr<int> exit_code =
      options.ok() ? std::visit([](const auto& asked) { return Execute(asked); }, *options)
                   : absl::StatusOr<int>(options.status());
  if (exit_code.ok()) return *exit_code;
  std::string line(exit_code.status().message());
  if (IsUsageError(exit_code.status())) line += "; see '" + command_line.HelpCommand() + "'";
  // Keeps it to one line: file names and foreign messages may contain newlines.
  std::cerr << "nodeport-guard: " << base::Printable(line) << "\n";
  return ExitCode(exit_code.status());
}

}  // namespace

int RunProgram(int argc, char** argv, const std::function<void(Options&)>& adjust) {
  try {
    return ParseAndExecute({argv + (argc > 0 ? 1 : 0), argv + argc}, adjust);
  } catch (const std::exception& error) {
    // Our own code does not throw; this is most likely std::bad_alloc.
    std::cerr << "nodeport-guard: " << error.what() << "\n";
    return kExitRuntimeError;
  }
}

}  // namespace npg::cli
