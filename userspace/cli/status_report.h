// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_STATUS_REPORT_H_
#define NODEPORT_GUARD_CLI_STATUS_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/guard_facts.h"
#include "cli/table.h"
#include "core/conflicts.h"

namespace npg::cli {

// `facts` outlives the report. Without conflicts where the listeners of the
// guarded namespace could not be seen; Problems() then says so.
struct StatusReport {
  const GuardFacts* facts = nullptr;
  std::vector<std::string> problems;
  std::vector<core::Conflict> conflicts;
};

StatusReport MakeStatusReport(const GuardFacts& facts);

std::string RenderStatus(const StatusReport& report, const Style& style);
nlohmann::ordered_json StatusJson(const StatusReport& report);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_STATUS_REPORT_H_
