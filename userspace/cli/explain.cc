// SPDX-License-Identifier: Apache-2.0
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/explain_report.h"
#include "cli/guard_facts.h"
#include "cli/output.h"
#include "cli/table.h"
#include "core/port.h"

namespace npg::cli {

absl::StatusOr<int> Execute(const ExplainOptions& options) {
  const absl::StatusOr<GuardFacts> facts = GatherGuardFacts(
      options.node,
      [&](const core::PortKey& key, bool /*nodeport*/) { return key.port == options.port; });
  if (!facts.ok()) return facts.status();
  const ExplainReport report = MakeExplainReport(*facts, options);
  const absl::Status written =
      WriteOut(options.output == OutputFormat::kTable
                   ? RenderExplain(report, *facts, StyleOfStdout())
                   : ToDocument(ExplainJson(report, *facts), options.output));
  if (!written.ok()) return written;
  return report.problems.empty() ? kExitOk : kExitRuntimeError;
}

}  // namespace npg::cli
