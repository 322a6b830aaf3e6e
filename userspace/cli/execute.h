// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_EXECUTE_H_
#define NODEPORT_GUARD_CLI_EXECUTE_H_

#include "absl/status/statusor.h"
#include "cli/args/options.h"

namespace npg::cli {

// Execute a subcommand; each has its own file. The result is the exit code. An
// error goes to standard error, and ExitCode() has its exit code.
absl::StatusOr<int> Execute(const HelpOptions& options);
absl::StatusOr<int> Execute(const RunOptions& options);
absl::StatusOr<int> Execute(const StatusOptions& options);
absl::StatusOr<int> Execute(const ExplainOptions& options);
absl::StatusOr<int> Execute(const EventsOptions& options);
absl::StatusOr<int> Execute(const ScanOptions& options);
absl::StatusOr<int> Execute(const DoctorOptions& options);
absl::StatusOr<int> Execute(const UnloadOptions& options);
absl::StatusOr<int> Execute(const VersionOptions& options);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_EXECUTE_H_
