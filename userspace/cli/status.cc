// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/gather.h"
#include "cli/output.h"
#include "cli/status_report.h"
#include "cli/table.h"
#include "core/port.h"
#include "inspect/guard_facts.h"
#include "inspect/json.h"
#include "inspect/status.h"

namespace npg::cli {

absl::StatusOr<int> Execute(const StatusOptions& options) {
  absl::StatusOr<inspect::GuardFacts> facts =
      Gather(options.node, [](const core::PortKey&, bool nodeport) { return nodeport; });
  if (!facts.ok()) return facts.status();
  const inspect::Status status = inspect::MakeStatus(*std::move(facts));
  const absl::Status written =
      WriteOut(options.output == OutputFormat::kTable
                   ? RenderStatus(status, StyleOfStdout())
                   : ToDocument(inspect::StatusJson(status), options.output));
  if (!written.ok()) return written;
  return status.healthy() ? kExitOk : kExitRuntimeError;
}

}  // namespace npg::cli
