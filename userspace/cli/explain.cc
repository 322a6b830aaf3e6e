// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/explain_report.h"
#include "cli/gather.h"
#include "cli/output.h"
#include "cli/table.h"
#include "core/port.h"
#include "inspect/guard_facts.h"

namespace npg::cli {

absl::StatusOr<int> Execute(const ExplainOptions& options) {
  absl::StatusOr<inspect::GuardFacts> facts =
      Gather(options.node,
             [&](const core::PortKey& key, bool /*nodeport*/) { return key.port == options.port; });
  if (!facts.ok()) return facts.status();
  const ExplainReport report = MakeExplainReport(*std::move(facts), options);
  const absl::Status written = WriteOut(options.output == OutputFormat::kTable
                                            ? RenderExplain(report, StyleOfStdout())
                                            : ToDocument(ExplainJson(report), options.output));
  if (!written.ok()) return written;
  return report.status.healthy() ? kExitOk : kExitRuntimeError;
}

}  // namespace npg::cli
