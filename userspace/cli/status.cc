// SPDX-License-Identifier: Apache-2.0
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/guard_facts.h"
#include "cli/output.h"
#include "cli/status_report.h"
#include "cli/table.h"
#include "core/port.h"

namespace npg::cli {

absl::StatusOr<int> Execute(const StatusOptions& options) {
  const absl::StatusOr<GuardFacts> facts =
      GatherGuardFacts(options.node, [](const core::PortKey&, bool nodeport) { return nodeport; });
  if (!facts.ok()) return facts.status();
  const StatusReport report = MakeStatusReport(*facts);
  const absl::Status written = WriteOut(options.output == OutputFormat::kTable
                                            ? RenderStatus(report, StyleOfStdout())
                                            : ToDocument(StatusJson(report), options.output));
  if (!written.ok()) return written;
  return report.problems.empty() ? kExitOk : kExitRuntimeError;
}

}  // namespace npg::cli
