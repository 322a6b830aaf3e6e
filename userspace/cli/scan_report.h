// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_SCAN_REPORT_H_
#define NODEPORT_GUARD_CLI_SCAN_REPORT_H_

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "cli/table.h"
#include "core/conflicts.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "node/owners.h"

namespace npg::cli {

// What a scan saw.
struct ScanFacts {
  core::PortEntries ports;                              // the union of what the sources say
  std::vector<std::pair<std::string, size_t>> sources;  // those that answered, and how many ports
  std::vector<std::string> failed_sources;              // why the others did not, one line each
  std::vector<std::string> skipped;                     // input that sources skipped
  core::AddressSet own;           // addresses of the node that are in scope, besides loopback
  core::PortHistories histories;  // of a guard that is loaded, where it can be read
  absl::Time now;
  size_t listeners = 0;                    // all that were looked at
  std::vector<core::Listener> candidates;  // those on NodePorts, with owners where visible
  node::OwnerGaps gaps;
  bool guarded = false;  // a guard is pinned on this node
};

struct ScanReport {
  const ScanFacts* facts = nullptr;
  std::vector<core::Conflict> conflicts;
  std::vector<core::Conflict> ignored;  // of processes that only hold the port
  std::vector<std::string> notes;       // what could not be seen, one line each
};

// `facts` outlives the report.
ScanReport MakeScanReport(const ScanFacts& facts, const core::OwnerPolicy& policy);

std::string RenderScan(const ScanReport& report, const Style& style);
nlohmann::ordered_json ScanJson(const ScanReport& report);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_SCAN_REPORT_H_
