// SPDX-License-Identifier: Apache-2.0
#include "cli/status_report.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/short_duration.h"
#include "base/text.h"
#include "cli/guard_text.h"
#include "cli/table.h"
#include "core/conflicts.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/port.h"
#include "inspect/coverage.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"
#include "inspect/text.h"

namespace npg::cli {
namespace {

std::string Ago(const inspect::GuardFacts& facts, absl::Time time) {
  return absl::StrCat(base::ShortDuration(facts.now - time), " ago");
}

std::string RenderConflicts(const inspect::Status& status, const Style& style) {
  const inspect::GuardFacts& facts = status.facts;
  if (status.conflicts.empty()) {
    if (facts.same_netns == false) return "Conflicts: not visible from here.\n";
    if (inspect::JudgeCoverage(facts).coverage != core::Coverage::kAll) {
      return absl::StrCat("Cannot tell whether there are conflicts: ",
                          base::Count(status.nodeports.total, "NodePort"),
                          status.nodeports.total == 1 ? " is" : " are",
                          " known, and there can be more (see the notes).\n");
    }
    return absl::StrCat(
        "No conflicts: no process of this node listens on a NodePort (", status.nodeports.total,
        " known)", inspect::GuardsNodeAddresses(facts) ? ".\n" : ", as far as loopback reaches.\n");
  }
  const size_t count = status.conflicts.size();
  std::string out = Paint(absl::StrCat("Conflicts: ", base::Count(count, "listener"),
                                       count == 1 ? " has" : " have", " the port of a NodePort"),
                          Tone::kHeading, style);
  out += "\n";
  // Mode observe exempts nothing; show what it would have exempted.
  const bool observe = facts.config.mode == abi::Mode::kObserve;
  Table table({{"PORT"},
               {"SERVICE"},
               {"LISTENER"},
               {"OWNER"},
               {observe ? "OBSERVED" : "EXEMPTED", true},
               {"LAST"},
               {"SINCE"}});
  OwnersTable owners;
  for (const auto& group : inspect::GroupConflicts(status.conflicts)) {
    const inspect::GuardedConflict& conflict = *group.conflict;
    owners.Add(conflict);
    const core::PortHistory& history = conflict.history;
    table.AddRow({core::ToString(conflict.key), conflict.service.empty() ? "-" : conflict.service,
                  inspect::AddressOf(group),
                  inspect::OwnerText(conflict.owner, inspect::UidOf(conflict.listener)),
                  conflict.owner_verdict != core::OwnerVerdict::kGuarded
                      ? Cell(std::string(core::Name(conflict.owner_verdict)), Tone::kWarn)
                      : Cell(absl::StrCat(observe ? history.observed : history.exempted)),
                  history.last ? Ago(facts, *history.last) : "never",
                  history.since ? Ago(facts, *history.since) : "-"});
  }
  return absl::StrCat(out, table.Render(style, "  "), owners.Render(style));
}

std::string RenderCounters(const inspect::GuardFacts& facts, const Style& style) {
  Table table({{"", false, false}, {"", true, false}, {"", false, true}});
  for (const auto& row : abi::kCounters) {
    const uint64_t count = facts.counters[row.value];
    const bool worry = row.value == abi::Counter::kMarkFailed && count > 0;
    table.AddRow({std::string(row.name),
                  {absl::StrCat(count), worry ? Tone::kWarn : Tone::kPlain},
                  std::string(row.meaning)});
  }
  return table.Render(style, "  ");
}

}  // namespace

std::string RenderStatus(const inspect::Status& status, const Style& style) {
  std::string out = RenderProblems(status.problems, style);
  absl::StrAppend(&out, RenderConflicts(status, style), "\n", Paint("Guard", Tone::kHeading, style),
                  "\n", RenderGuard(status, style), "\n");
  const std::string sources = RenderSources(status.facts, style);
  if (!sources.empty()) absl::StrAppend(&out, sources, "\n");
  absl::StrAppend(&out, Paint("Counters, since the guard was loaded", Tone::kHeading, style), "\n",
                  RenderCounters(status.facts, style));
  for (const std::string& note : status.notes) absl::StrAppend(&out, "\nNote: ", note, "\n");
  return out;
}

}  // namespace npg::cli
