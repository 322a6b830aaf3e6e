// SPDX-License-Identifier: Apache-2.0
#include "cli/guard_text.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/algorithm/container.h"
#include "absl/container/btree_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "base/short_duration.h"
#include "base/text.h"
#include "cli/table.h"
#include "core/accept_queue.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "core/port.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/protection.h"
#include "inspect/status.h"
#include "inspect/text.h"
#include "node/cgroups.h"

namespace npg::cli {
namespace {

size_t AttachedPrograms(const inspect::GuardFacts& facts) {
  return static_cast<size_t>(absl::c_count_if(
      inspect::Programs(facts), [](const inspect::Program& program) { return program.attached; }));
}

std::string ControllerText(const inspect::GuardFacts& facts) {
  if (facts.controller > 0) return absl::StrCat("running, pid ", facts.controller);
  if (facts.controller < 0) return "running, in a pid namespace out of sight";
  return "not running: the guard uses the last known NodePorts";
}

std::string ProgramsText(const inspect::GuardFacts& facts) {
  const absl::btree_set<std::string> cgroups = inspect::Cgroups(facts);
  bool part = !cgroups.empty();
  for (const inspect::LinkFact& fact : facts.links)
    part = part && fact.link.cgroup_id != node::kRootCgroupId;
  return absl::StrCat(AttachedPrograms(facts), " of ", inspect::Programs(facts).size(), " attached",
                      cgroups.empty() ? "" : " to ", absl::StrJoin(cgroups, " and "),
                      part ? "; connects of processes below it only" : "");
}

std::string TableText(const inspect::GuardFacts& facts) {
  const std::string name = inspect::NftTableName();
  if (facts.same_netns == false) return absl::StrCat(name, ": not visible from here");
  if (!facts.nft.ok()) return absl::StrCat(name, ": ", facts.nft.status().message());
  if (!facts.nft->present) return absl::StrCat(name, ": missing");
  std::string text =
      absl::StrCat(name, ": in place, ", base::Count(facts.nft->exempted_packets, "packet"),
                   " exempted, ", base::Count(facts.nft->flows, "flow"), " untracked, ",
                   base::Count(facts.nft->datagram_ports, "UDP port"), " exempt");
  if (facts.nft->owner_portid != 0) {
    absl::StrAppend(&text, "; no other process can remove it");
  } else if (facts.controller != 0) {
    absl::StrAppend(&text, "; other programs can remove it, the controller restores it");
  } else {
    absl::StrAppend(&text, "; while no controller runs, 'nft flush ruleset' would remove it");
  }
  return text;
}

std::string ScopeText(const inspect::GuardFacts& facts) {
  std::string text =
      absl::StrCat(abi::Name(facts.config.scope), ": ", abi::Meaning(facts.config.scope));
  if (inspect::GuardsNodeAddresses(facts)) {
    absl::StrAppend(&text, "; ", facts.own.size(),
                    facts.own.size() == 1 ? " address" : " addresses", " besides loopback");
  }
  if (!facts.left_out.empty()) {
    absl::StrAppend(&text, "; left out: ", core::LeftOutText(facts.left_out, kMaxLeftOut));
  }
  return text;
}

std::string KubeProxyText(const inspect::GuardFacts& facts) {
  return absl::StrCat("nftables mode: loopback is not hijacked, the node's addresses are; ",
                      inspect::GuardsNodeAddresses(facts) ? "they are guarded, too (--scope local)"
                                                          : "'run --scope local' would guard them");
}

// A row for each thing that is in use, or that a setting would change.
void AddProtectionRows(const inspect::Status& status, Table& table) {
  const inspect::GuardFacts& facts = status.facts;
  if (std::string text = inspect::OverlapText(facts); !text.empty()) {
    table.AddRow({"port range", {std::move(text), Tone::kWarn}});
  }
  if (std::string text = inspect::ReserveText(facts); !text.empty()) {
    const bool ok = facts.protection.reserve_state == abi::ReserveState::kOk;
    table.AddRow({"reserved", {std::move(text), ok ? Tone::kPlain : Tone::kWarn}});
  }
  if (std::string text = inspect::BindText(facts, status.refusable); !text.empty()) {
    table.AddRow({"binds", std::move(text)});
  }
}

std::string For(const inspect::GuardFacts& facts, absl::Time since) {
  return base::ShortDuration(facts.now - since);
}

// Without a controller no source is connected, and durations would grow without limit.
std::string ConnectionText(const inspect::GuardFacts& facts, const abi::SourceState& state) {
  const bool running = facts.controller != 0;
  std::string text =
      absl::StrCat(running ? "" : "was ", state.connected ? "" : "not ", "connected");
  if (running) absl::StrAppend(&text, " for ", For(facts, state.since));
  if (!state.connected) absl::StrAppend(&text, ": ", inspect::WhyNotConnected(state));
  return text;
}

std::string LastEventText(const inspect::GuardFacts& facts, const abi::SourceState& state) {
  if (abi::IsNever(state.last_event)) return "nothing received yet";
  std::string text = absl::StrCat("last received ", For(facts, state.last_event), " ago");
  if (!state.resource_version.empty()) {
    absl::StrAppend(&text, ", resourceVersion ", state.resource_version);
  }
  return text;
}

std::string ReportsText(abi::Source source, const abi::SourceState& state) {
  std::string text = absl::StrCat(base::Count(state.ports, "port"));
  if (state.services > 0) absl::StrAppend(&text, " of ", base::Count(state.services, "Service"));
  if (state.health_check_ports > 0) {
    absl::StrAppend(&text, "; ", base::Count(state.health_check_ports, "health check port"));
  }
  if (state.skipped > 0) absl::StrAppend(&text, "; ", inspect::SkippedText(source, state));
  return text;
}

}  // namespace

std::string RenderProblems(const std::vector<std::string>& problems, const Style& style) {
  std::string out;
  for (const std::string& problem : problems) {
    absl::StrAppend(&out, Paint("BROKEN:", Tone::kBad, style), " ", base::Printable(problem), "\n");
  }
  return out;
}

void OwnersTable::Add(const inspect::Conflict& conflict) {
  std::string owner = inspect::OwnerText(conflict.owner, conflict.listener.uid);
  std::string details = inspect::OwnerDetails(conflict.listener);
  if (details != owner && shown_.insert(owner).second) {
    table_.AddRow({owner, std::move(details)});
    empty_ = false;
  }
  if (conflict.listener.accept_queue == 0) return;
  // Each listener has its own.
  table_.AddRow({std::move(owner), absl::StrCat(core::ToString(conflict.key), " ",
                                                core::AddressText(conflict.listener.address), ": ",
                                                core::AcceptQueueText(conflict.listener))});
  empty_ = false;
}

std::string OwnersTable::Render(const Style& style) const {
  return empty_ ? "" : absl::StrCat("\n", table_.Render(style, "  "));
}

std::string RenderGuard(const inspect::Status& status, const Style& style) {
  const inspect::GuardFacts& facts = status.facts;
  Table table({{"", false, false}, {"", false, true}});
  const bool broken_programs = AttachedPrograms(facts) < inspect::Programs(facts).size() ||
                               inspect::Cgroups(facts).size() > 1;
  const bool broken_table = facts.same_netns != false && inspect::TableProblem(facts).has_value();
  const bool observe = facts.config.mode == abi::Mode::kObserve;
  table.AddRow(
      {"controller", {ControllerText(facts), facts.controller == 0 ? Tone::kWarn : Tone::kPlain}});
  const bool aside = (facts.config.standing_aside & abi::AllTraffic()) != 0;
  table.AddRow({"mode",
                {absl::StrCat(abi::Name(facts.config.mode), ": ", abi::Meaning(facts.config.mode),
                              aside ? absl::StrCat("; stands aside for ",
                                                   abi::TrafficText(facts.config.standing_aside))
                                    : ""),
                 aside     ? Tone::kBad
                 : observe ? Tone::kWarn
                           : Tone::kPlain}});
  table.AddRow({"programs", {ProgramsText(facts), broken_programs ? Tone::kBad : Tone::kPlain}});
  table.AddRow({"nft table", {TableText(facts), broken_table ? Tone::kBad : Tone::kPlain}});
  table.AddRow({"scope", ScopeText(facts)});
  table.AddRow({"listeners", inspect::PolicyText(inspect::Rules(facts))});
  if (const auto seen = inspect::VisibleTable(facts); seen && seen->present) {
    table.AddRow({"IPVS", seen->ipvs_bypass ? "bypass on: exempted packets go past its services"
                                            : "bypass off"});
  }
  table.AddRow({"mark", inspect::MarkText(facts.config)});
  table.AddRow({"NodePorts", inspect::NodePortsText(status.nodeports)});
  AddProtectionRows(status, table);
  if (inspect::SeesKubeProxyNftables(facts)) table.AddRow({"kube-proxy", KubeProxyText(facts)});
  table.AddRow({"pins", inspect::PinsText(facts)});
  table.AddRow({"version", absl::StrCat(facts.config.version, ", controller started ",
                                        base::UtcTime(facts.config.started))});
  return table.Render(style, "  ");
}

std::string RenderSources(const inspect::GuardFacts& facts, const Style& style) {
  if (facts.sources.empty()) return "";
  Table table({{"", false, false}, {"", false, true}});
  for (const auto& [source, state] : facts.sources) {
    const Tone tone = state.connected ? Tone::kPlain : Tone::kWarn;
    table.AddRow({std::string(abi::Name(source)), {ConnectionText(facts, state), tone}});
    table.AddRow({"", LastEventText(facts, state)});
    table.AddRow({"", ReportsText(source, state)});
    if (!state.detail.empty()) table.AddRow({"", state.detail});
    const std::string errors = inspect::ErrorsText(state);
    if (!errors.empty()) table.AddRow({"", absl::StrCat("errors: ", errors)});
  }
  const absl::string_view title =
      facts.controller != 0 ? "Sources" : "Sources, as they were when the last controller ended";
  return absl::StrCat(Paint(title, Tone::kHeading, style), "\n", table.Render(style, "  "));
}

}  // namespace npg::cli
