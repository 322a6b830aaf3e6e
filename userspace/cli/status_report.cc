// SPDX-License-Identifier: Apache-2.0
#include "cli/status_report.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "cli/guard_facts.h"
#include "cli/guard_text.h"
#include "cli/source_text.h"
#include "cli/table.h"
#include "cli/text.h"
#include "core/conflicts.h"
#include "core/desired_state.h"
#include "core/port.h"
#include "dataplane/guard_abi_text.h"
#include "guard_abi.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string Ago(const GuardFacts& facts, absl::Time time) {
  return absl::StrCat(ShortDuration(facts.now - time), " ago");
}

std::string RenderConflicts(const StatusReport& report, const Style& style) {
  const GuardFacts& facts = *report.facts;
  if (report.conflicts.empty()) {
    if (facts.same_netns == false) return "Conflicts: not visible from here.\n";
    return absl::StrCat("No conflicts: no process of this node listens on a NodePort (",
                        facts.nodeports.size(), " known).\n");
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
  for (const GuardedConflict& item : report.conflicts) {
    table.AddRow({core::ToString(item.conflict.key),
                  item.conflict.service.empty() ? "-" : item.conflict.service,
                  core::AddressText(item.conflict.listener.address),
                  OwnerText(item.conflict.listener, item.classified),
                  item.ignored ? Cell("ignored", Tone::kWarn)
                               : Cell(absl::StrCat(observe ? item.observed : item.exempted)),
                  item.last ? Ago(facts, *item.last) : "never", Ago(facts, item.since)});
  }
  return out + table.Render(style, "  ");
}

std::string RenderCounters(const GuardFacts& facts, const Style& style) {
  Table table({{"", false, false}, {"", true, false}, {"", false, true}});
  for (size_t i = 0; i < facts.counters.size(); ++i) {
    const auto counter = static_cast<npg_counter>(i);
    const bool worry = counter == NPG_COUNTER_MARK_FAILED && facts.counters[i] > 0;
    table.AddRow({std::string(dataplane::CounterName(counter)),
                  {absl::StrCat(facts.counters[i]), worry ? Tone::kWarn : Tone::kPlain},
                  std::string(dataplane::CounterMeaning(counter))});
  }
  return table.Render(style, "  ");
}

std::vector<std::string> Notes(const StatusReport& report) {
  std::vector<std::string> notes = SourceNotes(*report.facts);
  size_t unknown = 0;
  for (const GuardedConflict& item : report.conflicts) {
    if (item.conflict.listener.owner.pid == 0) ++unknown;
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

}  // namespace

StatusReport MakeStatusReport(const GuardFacts& facts) {
  StatusReport report;
  report.facts = &facts;
  report.problems = Problems(facts);
  if (facts.same_netns == false) return report;  // the listeners here are none of the guard's
  core::PortEntries ports;
  for (const auto& [key, nodeport] : facts.nodeports) {
    ports[ToPortKey(key)] = {nodeport.sources, std::string(dataplane::FieldText(nodeport.service))};
  }
  for (core::Conflict& conflict : core::FindConflicts(ports, facts.listeners)) {
    GuardedConflict item;
    item.classified = Classified(facts, conflict.listener);
    item.ignored = item.classified != nullptr && item.classified->verdict == NPG_OWNER_IGNORED;
    for (const auto& [key, stats] : facts.stats) {
      if (ToPortKey(key) != conflict.key) continue;
      item.exempted = stats.exempted;
      item.observed = stats.observed;
      item.last = WallTime(facts, stats.last);
    }
    const npg_nodeport* nodeport = FindNodePort(facts, conflict.key);
    item.since = absl::FromUnixSeconds(static_cast<int64_t>(nodeport->since));
    item.conflict = std::move(conflict);
    report.conflicts.push_back(std::move(item));
  }
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
  for (const GuardedConflict& item : report.conflicts) {
    const core::Conflict& conflict = item.conflict;
    Json entry;
    entry["port"] = conflict.key.port;
    entry["protocol"] = std::string(core::ProtocolName(conflict.key.protocol));
    entry["service"] = conflict.service.empty() ? Json(nullptr) : Json(conflict.service);
    entry["sources"] = SourcesJson(conflict.sources);
    entry["listener"] = AddressValue(conflict.listener.address);
    entry["owner"] = OwnerJson(conflict.listener, item.classified);
    entry["verdict"] = std::string(
        dataplane::OwnerVerdictName(item.ignored ? NPG_OWNER_IGNORED : NPG_OWNER_GUARDED));
    entry["exempted"] = item.exempted;
    entry["observed"] = item.observed;
    entry["last"] = item.last ? Json(UtcTime(*item.last)) : Json(nullptr);
    entry["since"] = UtcTime(item.since);
    json["conflicts"].push_back(std::move(entry));
  }
  json["guard"] = GuardJson(*report.facts);
  json["sources"] = SourceStatesJson(*report.facts);
  json["counters"] = Json::object();
  for (size_t i = 0; i < report.facts->counters.size(); ++i) {
    const auto counter = static_cast<npg_counter>(i);
    json["counters"][std::string(dataplane::CounterName(counter))] = report.facts->counters[i];
  }
  json["notes"] = Notes(report);
  return json;
}

}  // namespace npg::cli
