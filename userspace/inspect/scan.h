// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_SCAN_H_
#define NODEPORT_GUARD_INSPECT_SCAN_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "core/conflicts.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port_ranges.h"
#include "inspect/coverage.h"
#include "inspect/json.h"
#include "inspect/status.h"
#include "node/owners.h"

namespace npg::inspect {

// The input of a scan.
struct ScanFacts {
  core::PortEntries ports;                              // the union of the sources
  std::vector<std::pair<std::string, size_t>> sources;  // those that answered, and how many ports
  std::vector<std::string> failed_sources;              // why the others did not, one line each
  std::vector<std::string> skipped;                     // input that sources skipped
  NodePortCoverage coverage;                            // of the NodePorts, by these sources
  core::AddressSet own;           // addresses of the node that are in scope, besides loopback
  core::PortHistories histories;  // of a guard that is loaded, where it can be read
  absl::Time now;
  size_t listeners = 0;                    // all that were listed
  std::vector<core::Listener> candidates;  // those on NodePorts, with owners where visible
  node::OwnerGaps gaps;
  bool guarded = false;           // a guard is pinned on this node
  core::PortRange automatic;      // net.ipv4.ip_local_port_range
  core::OwnerRules by_default;    // of `run` without flags
  bool cilium_socket_lb = false;  // as in GuardFacts
};

struct ScanReport {
  const ScanFacts* facts = nullptr;
  std::vector<Conflict> conflicts;
  std::vector<Conflict> ignored;    // of processes that only hold the port
  std::vector<Conflict> untrusted;  // of users and cgroups that the policy does not name
  // The conflicts that `run` with the same flags does not end, one line each: "53/tcp 127.0.0.53".
  std::vector<std::string> not_ended;
  bool needs_flags = false;        // `run` ends the others only with the flags of this scan
  std::vector<std::string> notes;  // what could not be read or seen, one line each
};

// `facts` outlives the report.
ScanReport MakeScanReport(const ScanFacts& facts, const core::OwnerRules& rules);

Json ScanJson(const ScanReport& report);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_SCAN_H_
