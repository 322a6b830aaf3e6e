// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/gather.h"
#include "cli/make_sources.h"
#include "cli/node_paths.h"
#include "cli/output.h"
#include "cli/read_sources.h"
#include "cli/scan_report.h"
#include "cli/table.h"
#include "core/conflicts.h"
#include "core/coverage.h"
#include "core/desired_state.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "inspect/coverage.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/local_addresses.h"
#include "inspect/scan.h"
#include "node/cgroup_watch.h"
#include "node/node_files.h"
#include "node/node_port_traces.h"
#include "node/owners.h"
#include "node/sock_diag.h"
#include "node/socket_lb.h"
#include "sources/source.h"

namespace npg::cli {
namespace {

// What a loaded guard has counted for `ports`, if there is one; a scan does not need the right to
// read its maps.
core::PortHistories ReadHistories(const NodeOptions& node, const core::PortEntries& ports) {
  const auto state = dataplane::GuardState::Open(dataplane::PinPaths(node.bpffs));
  if (!state.ok()) return {};
  const auto nodeports = state->NodePorts();
  const auto stats = state->PortStats();
  if (!nodeports.ok() || !stats.ok()) return {};
  inspect::GuardFacts facts;
  facts.nodeports = *nodeports;
  facts.stats = *stats;
  facts.now = absl::Now();
  facts.now_boot_ns = base::BootNanoseconds();
  return inspect::Histories(facts, ports);
}

absl::StatusOr<core::OwnerRules> RulesOf(const core::OwnerPolicy& policy) {
  core::OwnerRules rules{policy, {}};
  if (policy.cgroups.empty()) return rules;
  const absl::StatusOr<std::string> root = FindCgroup2Root();
  if (!root.ok()) return base::Annotate(root.status(), "--guard-cgroup");
  auto ids = node::ListCgroups(*root, policy.cgroups, abi::kMaxCgroups);
  if (!ids.ok()) return ids.status();
  rules.served_cgroups = *std::move(ids);
  return rules;
}

}  // namespace

absl::StatusOr<int> Execute(const ScanOptions& options) {
  if (!options.node.cgroup.empty()) NPG_RETURN_IF_ERROR(CheckCgroup(options.node.cgroup));
  inspect::ScanFacts facts;
  if (options.scope == abi::Scope::kLocal) {
    auto addresses = inspect::ReadLocalAddresses(options.node.bpffs, options.local_addresses);
    if (!addresses.ok()) return addresses.status();
    facts.own = std::move(addresses->own);
  }
  const auto sources =
      MakeSources(options.sources, ReadEnvironment, [own = facts.own] { return own; });
  if (!sources.ok()) return sources.status();
  SourcesRead read = ReadSources(*sources);
  facts.coverage = inspect::JudgeCoverage(read.coverages, /*failed=*/!read.failed.empty(),
                                          node::ReadNodePortTraces());
  facts.ports = std::move(read.ports);
  facts.sources = std::move(read.answered);
  facts.failed_sources = std::move(read.failed);
  facts.skipped = std::move(read.skipped);

  facts.cilium_socket_lb =
      node::HasCiliumSocketLb(options.node.bpffs, FindCgroup2Root().value_or(""));
  facts.by_default = core::OwnerRules{DefaultOwnerPolicy(), {}};
  facts.automatic = node::ReadLocalPortRange(kProc).value_or(core::PortRange());
  absl::StatusOr<node::ListenersOn> found = ListListeners(
      options.node, [&facts](const core::PortKey& key) { return facts.ports.contains(key); });
  if (!found.ok()) return base::Annotate(found.status(), "list listeners");
  facts.listeners = found->all;
  facts.candidates = std::move(found->listeners);
  node::OwnerBudget budget;
  budget.threads = 2;
  facts.gaps = node::FillOwners(facts.candidates, kProc, budget);
  // Whether links are pinned; `status` reports whether they are valid.
  facts.guarded = access(dataplane::PinPaths(options.node.bpffs).Links().c_str(), F_OK) == 0;
  facts.now = absl::Now();
  if (facts.guarded) facts.histories = ReadHistories(options.node, facts.ports);

  const absl::StatusOr<core::OwnerRules> rules = RulesOf(options.owners);
  if (!rules.ok()) return rules.status();
  const inspect::ScanReport report = inspect::MakeScanReport(facts, *rules);
  NPG_RETURN_IF_ERROR(WriteOut(options.output == OutputFormat::kTable
                                   ? RenderScan(report, StyleOfStdout())
                                   : ToDocument(inspect::ScanJson(report), options.output)));
  if (!report.conflicts.empty()) return kExitConflicts;
  return facts.coverage.coverage == core::Coverage::kAll ? kExitOk : kExitCannotTell;
}

}  // namespace npg::cli
