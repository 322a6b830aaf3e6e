// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/command_line.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/options.h"

namespace {

std::optional<std::string> ReadEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): no threads yet
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace

int main(int argc, char** argv) {
  npg::cli::CommandLine command_line;
  const std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
  const absl::StatusOr<npg::cli::Options> options = command_line.Parse(args, ReadEnvironment);
  const absl::StatusOr<int> exit_code =
      options.ok()
          ? std::visit([](const auto& asked) { return npg::cli::Execute(asked); }, *options)
          : absl::StatusOr<int>(options.status());
  if (exit_code.ok()) return *exit_code;
  std::string line(exit_code.status().message());
  if (npg::cli::IsUsageError(exit_code.status())) {
    line += "; see '" + command_line.HelpCommand() + "'";
  }
  std::fprintf(stderr, "nodeport-guard: %s\n", line.c_str());
  return npg::cli::ExitCode(exit_code.status());
}
