// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_STATUS_REPORT_H_
#define NODEPORT_GUARD_CLI_STATUS_REPORT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/guard_facts.h"
#include "cli/table.h"
#include "core/conflicts.h"
#include "guard_abi.h"

namespace npg::cli {

// A listener of this node whose port is a NodePort, and how it fared.
struct GuardedConflict {
  core::Conflict conflict;
  const npg_listener* classified = nullptr;  // in the facts; null: none
  bool ignored = false;                      // its owner does not count as a listener
  uint64_t exempted = 0;                     // connects, of the port and protocol
  uint64_t observed = 0;                     // the same, in observe mode
  std::optional<absl::Time> last;            // of either
  absl::Time since;                          // when the guard first knew the allocation
};

// `facts` outlives the report. Without conflicts where the listeners of the
// guarded namespace could not be seen; Problems() then says so.
struct StatusReport {
  const GuardFacts* facts = nullptr;
  std::vector<std::string> problems;
  std::vector<GuardedConflict> conflicts;
};

StatusReport MakeStatusReport(const GuardFacts& facts);

std::string RenderStatus(const StatusReport& report, const Style& style);
nlohmann::ordered_json StatusJson(const StatusReport& report);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_STATUS_REPORT_H_
