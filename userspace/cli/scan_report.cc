// SPDX-License-Identifier: Apache-2.0
#include "cli/scan_report.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "base/short_duration.h"
#include "base/text.h"
#include "cli/guard_text.h"
#include "cli/table.h"
#include "core/conflicts.h"
#include "core/coverage.h"
#include "core/listener.h"
#include "core/port.h"
#include "inspect/scan.h"
#include "inspect/status.h"
#include "inspect/text.h"

namespace npg::cli {
namespace {

std::string LookedAt(const inspect::ScanFacts& facts) {
  std::vector<std::string> parts;
  parts.reserve(facts.sources.size());
  for (const auto& [name, count] : facts.sources) parts.push_back(absl::StrCat(name, " ", count));
  return absl::StrCat(base::Count(facts.ports.size(), "NodePort"), parts.empty() ? "" : " (",
                      absl::StrJoin(parts, ", "), parts.empty() ? "" : ")", " and ",
                      base::Count(facts.listeners, "listener"));
}

// The result of a scan without conflicts.
absl::string_view ResultWithoutConflicts(core::Coverage coverage) {
  switch (coverage) {
    case core::Coverage::kAll:
      return "No conflicts";
    case core::Coverage::kPart:
      return "Cannot tell whether there are conflicts, none in the part of the NodePorts that was "
             "seen";
    case core::Coverage::kNone:
      break;
  }
  return "Cannot tell whether there are conflicts, no source sees this node's NodePorts";
}

// What `run` does about the conflicts, and about which it does nothing.
std::string Remedy(const inspect::ScanReport& report) {
  const std::vector<std::string>& rest = report.not_ended;
  const bool all = !rest.empty() && rest.size() == inspect::GroupConflicts(report.conflicts).size();
  if (all) return "'nodeport-guard run' does not prevent that: see the notes.\n";
  return absl::StrCat("'nodeport-guard run'", report.needs_flags ? " with the same flags" : "",
                      " prevents that", rest.empty() ? "" : ", but not for ",
                      absl::StrJoin(rest, ", "), ".\n");
}

std::string TableOf(const std::vector<inspect::Conflict>& conflicts,
                    const inspect::ScanFacts& facts, const Style& style) {
  std::vector<Column> columns = {{"PORT"}, {"SERVICE"}, {"SOURCES"}, {"LISTENER"}, {"OWNER"}};
  if (facts.guarded) columns.insert(columns.end(), {{"EXEMPTED", true}, {"LAST"}, {"SINCE"}});
  Table table(std::move(columns));
  const auto ago = [&](const std::optional<absl::Time>& time, const char* none) {
    return time ? absl::StrCat(base::ShortDuration(facts.now - *time), " ago") : none;
  };
  OwnersTable owners;
  for (const auto& group : inspect::GroupConflicts(conflicts)) {
    const inspect::Conflict& conflict = *group.conflict;
    owners.Add(conflict);
    std::vector<Cell> row = {core::ToString(conflict.key),
                             conflict.service.empty() ? "-" : conflict.service,
                             abi::SourcesText(conflict.sources), inspect::AddressOf(group),
                             inspect::OwnerText(conflict.owner, inspect::UidOf(conflict.listener))};
    if (facts.guarded) {
      row.emplace_back(absl::StrCat(conflict.history.exempted));
      row.emplace_back(ago(conflict.history.last, "never"));
      row.emplace_back(ago(conflict.history.since, "-"));
    }
    table.AddRow(std::move(row));
  }
  return absl::StrCat(table.Render(style, "  "), owners.Render(style));
}

}  // namespace

std::string RenderScan(const inspect::ScanReport& report, const Style& style) {
  std::string out;
  if (report.conflicts.empty()) {
    out = absl::StrCat(ResultWithoutConflicts(report.facts->coverage.coverage), ": ",
                       LookedAt(*report.facts), " looked at.\n");
  } else {
    const size_t count = report.conflicts.size();
    out = Paint(absl::StrCat("Conflicts: ", base::Count(count, "listener"),
                             count == 1 ? " has" : " have", " the port of a NodePort"),
                Tone::kHeading, style);
    absl::StrAppend(&out, "\n", TableOf(report.conflicts, *report.facts, style), "\n",
                    LookedAt(*report.facts), " looked at.\n",
                    report.facts->guarded
                        ? "A guard is loaded: see 'nodeport-guard status'.\n"
                        : absl::StrCat("This node's own connects to these listeners can end up in "
                                       "the Service;\n",
                                       Remedy(report)));
  }
  if (!report.ignored.empty()) {
    absl::StrAppend(&out, "\nIgnored, by --ignore-process or --only-process:\n",
                    TableOf(report.ignored, *report.facts, style));
  }
  if (!report.untrusted.empty()) {
    absl::StrAppend(&out,
                    "\nLeft to the Service, because --guard-uid and --guard-cgroup do not name "
                    "the owner:\n",
                    TableOf(report.untrusted, *report.facts, style));
    for (const auto& group : inspect::GroupConflicts(report.untrusted)) {
      const inspect::Conflict& conflict = *group.conflict;
      absl::StrAppend(&out, "To guard ", core::ToString(conflict.key), ", run with ",
                      base::Printable(inspect::FlagsThatTrust(conflict.listener)), ".\n");
    }
  }
  if (!report.notes.empty()) absl::StrAppend(&out, "\n");
  for (const std::string& note : report.notes) {
    absl::StrAppend(&out, "Note: ", base::Printable(note), "\n");
  }
  return out;
}

}  // namespace npg::cli
