// SPDX-License-Identifier: Apache-2.0
#include "cli/status_report.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "abi/guard_abi_text.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/short_duration.h"
#include "cli/args/text.h"
#include "cli/guard_facts.h"
#include "cli/guard_text.h"
#include "cli/source_text.h"
#include "cli/table.h"
#include "core/conflicts.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/port.h"
#include "guard_abi.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string Ago(const GuardFacts& facts, absl::Time time) {
  return absl::StrCat(base::ShortDuration(facts.now - time), " ago");
}

std::string RenderConflicts(const StatusReport& report, const Style& style) {
  const GuardFacts& facts = *report.facts;
  if (report.conflicts.empty()) {
    if (facts.same_netns == false) return "Conflicts: not visible from here.\n";
    return absl::StrCat(
        "No conflicts: nobody on this node listens on a NodePort (", facts.nodeports.size(),
        " known)",
        facts.config.scope == NPG_SCOPE_LOCAL ? ".\n" : ", as far as loopback reaches.\n");
  }
  const size_t count = report.conflicts.size();
  std::string out = Paint(absl::StrCat("Conflicts: ", Count(count, "listener"),
                                       count == 1 ? " has" : " have", " the port of a NodePort"),
                          Tone::kHeading, style);
  out += "\n";
  // In observe mode nothing is exempted, and what would be is of interest.
  const bool observe = facts.config.mode == NPG_MODE_OBSERVE;
  Table table({{"PORT"},
               {"SERVICE"},
               {"LISTENER"},
               {"OWNER"},
               {observe ? "OBSERVED" : "EXEMPTED", true},
               {"LAST"},
               {"SINCE"}});
  for (const core::Conflict& conflict : report.conflicts) {
    const core::PortHistory& history = conflict.history;
    table.AddRow({core::ToString(conflict.key), conflict.service.empty() ? "-" : conflict.service,
                  core::AddressText(conflict.listener.address),
                  OwnerText(conflict.listener, Classified(facts, conflict.listener)),
                  conflict.ignored
                      ? Cell("ignored", Tone::kWarn)
                      : Cell(absl::StrCat(observe ? history.observed : history.exempted)),
                  history.last ? Ago(facts, *history.last) : "never",
                  history.since ? Ago(facts, *history.since) : "-"});
  }
  return absl::StrCat(out, table.Render(style, "  "), RenderOwners(facts, report.conflicts, style));
}

std::string RenderCounters(const GuardFacts& facts, const Style& style) {
  Table table({{"", false, false}, {"", true, false}, {"", false, true}});
  for (size_t i = 0; i < facts.counters.size(); ++i) {
    const auto counter = static_cast<npg_counter>(i);
    const bool worry = counter == NPG_COUNTER_MARK_FAILED && facts.counters[i] > 0;
    table.AddRow({std::string(abi::CounterName(counter)),
                  {absl::StrCat(facts.counters[i]), worry ? Tone::kWarn : Tone::kPlain},
                  std::string(abi::CounterMeaning(counter))});
  }
  return table.Render(style, "  ");
}

std::vector<std::string> Notes(const StatusReport& report) {
  std::vector<std::string> notes = SourceNotes(*report.facts);
  size_t unknown = 0;
  for (const core::Conflict& conflict : report.conflicts) {
    if (conflict.listener.owner.pid == 0) ++unknown;
  }
  if (unknown > 0) {
    notes.push_back(absl::StrCat(
        "of ", Count(unknown, "listener"), " no process was found: ",
        report.facts->gaps.unreadable_processes > 0
            ? absl::StrCat(
                  Count(static_cast<uint64_t>(report.facts->gaps.unreadable_processes), "process"),
                  " could not be read; run it as root")
            : "it may run in a pid namespace that cannot be seen from here"));
  }
  return notes;
}

Json MapJson(size_t entries, size_t max_entries) {
  return {{"entries", entries}, {"max_entries", max_entries}};
}

}  // namespace

StatusReport MakeStatusReport(const GuardFacts& facts) {
  StatusReport report;
  report.facts = &facts;
  report.problems = Problems(facts);
  if (facts.same_netns == false) return report;  // the listeners here are none of the guard's
  core::PortEntries ports;
  for (const auto& [key, nodeport] : facts.nodeports) {
    ports[ToPortKey(key)] = {nodeport.sources, std::string(abi::FieldText(nodeport.service))};
  }
  report.conflicts = core::FindConflicts(ports, facts.listeners, facts.own, Histories(facts),
                                         [&](const core::Listener& listener) {
                                           return IsIgnored(facts, Classified(facts, listener));
                                         });
  return report;
}

std::string RenderStatus(const StatusReport& report, const Style& style) {
  std::string out = RenderProblems(report.problems, style);
  absl::StrAppend(&out, RenderConflicts(report, style), "\n", Paint("Guard", Tone::kHeading, style),
                  "\n", RenderGuard(*report.facts, style), "\n");
  const std::string sources = RenderSources(*report.facts, style);
  if (!sources.empty()) absl::StrAppend(&out, sources, "\n");
  absl::StrAppend(&out, Paint("Counters, since the guard was loaded", Tone::kHeading, style), "\n",
                  RenderCounters(*report.facts, style));
  for (const std::string& note : Notes(report)) absl::StrAppend(&out, "\nNote: ", note, "\n");
  return out;
}

Json StatusJson(const StatusReport& report) {
  Json json;
  json["healthy"] = report.problems.empty();
  json["problems"] = report.problems;
  json["conflicts"] = Json::array();
  for (const core::Conflict& conflict : report.conflicts) {
    json["conflicts"].push_back(
        ConflictJson(conflict, Classified(*report.facts, conflict.listener)));
  }
  json["guard"] = GuardJson(*report.facts);
  json["sources"] = SourceStatesJson(*report.facts);
  json["counters"] = Json::object();
  for (size_t i = 0; i < report.facts->counters.size(); ++i) {
    const auto counter = static_cast<npg_counter>(i);
    json["counters"][std::string(abi::CounterName(counter))] = report.facts->counters[i];
  }
  json["maps"] = {{"nodeports", MapJson(report.facts->nodeports.size(), NPG_MAX_NODEPORTS)},
                  {"listeners", MapJson(report.facts->classified.size(), NPG_MAX_LISTENERS)},
                  {"local_addresses", MapJson(report.facts->own.size(), NPG_MAX_ADDRESSES)},
                  {"owner_policy", MapJson(report.facts->policy.size(), NPG_MAX_POLICIES)},
                  {"port_stats", MapJson(report.facts->stats.size(), NPG_MAX_STATS)}};
  json["notes"] = Notes(report);
  return json;
}

}  // namespace npg::cli
