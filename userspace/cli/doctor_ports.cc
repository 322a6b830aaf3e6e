// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor_ports.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "cli/exit_code.h"
#include "cli/gather.h"
#include "cli/make_sources.h"
#include "cli/read_sources.h"
#include "core/accept_queue.h"
#include "core/bind_facts.h"
#include "core/conflicts.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_ranges.h"
#include "doctor/facts.h"
#include "inspect/coverage.h"
#include "inspect/port_overlap.h"
#include "inspect/text.h"
#include "node/node_files.h"
#include "node/node_port_traces.h"
#include "node/owners.h"
#include "node/sock_diag.h"
#include "sources/source.h"

namespace npg::cli {
namespace {

constexpr const char* kKubeProxy = "kube-proxy";

std::string ListenerText(const core::Listener& listener) {
  return absl::StrCat(core::ToString(listener.key), " ", core::AddressText(listener.address), " ",
                      inspect::OwnerText(listener),
                      core::IsLookedUp(listener) ? "" : " (bound to a device: no guard sees it)");
}

absl::Status AddListeners(const NodeOptions& node, const core::PortEntries& entries,
                          const core::AddressSet& own, const core::OwnerRules& rules,
                          doctor::PortFacts& ports) {
  auto found =
      ListListeners(node, [&entries](const core::PortKey& key) { return entries.contains(key); });
  if (!found.ok()) return base::Annotate(found.status(), "list listeners");
  node::FillOwners(found->listeners);
  const core::PortRange automatic = node::ReadLocalPortRange("/proc").value_or(core::PortRange());
  for (core::Listener& listener : found->listeners) {
    if (!listener.binder) listener.binder = core::GuessBinder(listener, automatic);
  }
  for (const core::Conflict& conflict : core::FindConflicts(
           entries, found->listeners, own, {},
           [&rules](const core::Listener& listener) { return rules.Judge(listener); })) {
    const core::Listener& listener = conflict.listener;
    if (conflict.owner_verdict == core::OwnerVerdict::kUntrusted) {
      ports.untrusted.push_back(
          absl::StrCat(ListenerText(listener), " (", inspect::FlagsThatTrust(listener), ")"));
      continue;
    }
    if (conflict.owner_verdict == core::OwnerVerdict::kIgnored) {
      if (listener.owner.comm == kKubeProxy) ports.kube_proxy.push_back(ListenerText(listener));
      continue;
    }
    const bool looked_up = core::IsLookedUp(listener);
    if (looked_up && core::HasLongAcceptQueue(listener)) {
      ports.not_accepting.push_back(absl::StrCat(ListenerText(listener), ", ",
                                                 core::AcceptQueueText(listener), " (",
                                                 core::HowToIgnore(listener, rules.policy), ")"));
    }
    if (core::ReachableOverLoopback(listener)) {
      ports.listeners.push_back(ListenerText(listener));
      if (!looked_up) ++ports.not_looked_up;
    }
    if (!core::IsLoopback(listener.address)) {
      ports.exposed_listeners.push_back(ListenerText(listener));
    }
  }
  return absl::OkStatus();
}

// The kernel may assign these, too, and `run` reserves them.
void AddHealthChecks(const std::vector<std::unique_ptr<sources::Source>>& sources,
                     doctor::PortFacts& ports) {
  for (const auto& source : sources) {
    const core::BindFacts* facts = source->bind_facts();
    if (facts == nullptr) continue;
    ports.health_checks.insert(ports.health_checks.end(), facts->health_checks.begin(),
                               facts->health_checks.end());
  }
}

// The ports that the kernel assigned to TCP listeners.
void AddAssigned(const NodeOptions& node, doctor::PortFacts& ports) {
  if (!ports.local.ok()) return;
  const auto found = ListListeners(node, [&ports](const core::PortKey& key) {
    return core::Contains({*ports.local}, key.port);
  });
  if (found.ok()) ports.assigned = inspect::AssignedPorts(*ports.local, found->listeners);
}

}  // namespace

absl::StatusOr<doctor::PortFacts> ReadPortFacts(const NodeOptions& node,
                                                const SourceOptions& options,
                                                const core::AddressSet& own,
                                                const core::AddressSet& guarded,
                                                const core::OwnerRules& rules) {
  doctor::PortFacts ports;
  ports.local = node::ReadLocalPortRange("/proc");
  ports.reserved = node::ReadReservedPorts("/proc");
  AddAssigned(node, ports);
  const auto sources = MakeSources(options, ReadEnvironment, [&guarded] { return guarded; });
  if (IsUsageError(sources.status())) return sources.status();
  if (!sources.ok()) {
    ports.source_errors.emplace_back(sources.status().message());
    return ports;
  }
  SourcesRead read = ReadSources(*sources);
  ports.source_errors = std::move(read.failed);
  ports.skipped = std::move(read.skipped);
  ports.unseen = inspect::JudgeCoverage(read.coverages, /*failed=*/!ports.source_errors.empty(),
                                        node::ReadNodePortTraces())
                     .notes;
  for (const auto& [key, entry] : read.ports) {
    // Sorted by port: what both protocols have is one.
    if (ports.allocated.empty() || ports.allocated.back() != key.port) {
      ports.allocated.push_back(key.port);
    }
  }
  AddHealthChecks(*sources, ports);
  if (const absl::Status status = AddListeners(node, read.ports, own, rules, ports); !status.ok()) {
    ports.source_errors.emplace_back(status.message());
  }
  return ports;
}

}  // namespace npg::cli
