// SPDX-License-Identifier: Apache-2.0
#include "cli/scan_report.h"

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/guard_abi_text.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "base/short_duration.h"
#include "cli/args/text.h"
#include "cli/guard_text.h"
#include "cli/table.h"
#include "core/conflicts.h"
#include "core/listener.h"
#include "core/port.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string LookedAt(const ScanFacts& facts) {
  std::vector<std::string> parts;
  parts.reserve(facts.sources.size());
  for (const auto& [name, count] : facts.sources) parts.push_back(absl::StrCat(name, " ", count));
  return absl::StrCat(Count(facts.ports.size(), "NodePort"), parts.empty() ? "" : " (",
                      absl::StrJoin(parts, ", "), parts.empty() ? "" : ")", " and ",
                      Count(facts.listeners, "listener"));
}

Json ConflictsJson(const std::vector<core::Conflict>& conflicts) {
  Json list = Json::array();
  for (const core::Conflict& conflict : conflicts) list.push_back(ConflictJson(conflict, nullptr));
  return list;
}

std::string TableOf(const std::vector<core::Conflict>& conflicts, const ScanFacts& facts,
                    const Style& style) {
  std::vector<Column> columns = {{"PORT"}, {"SERVICE"}, {"SOURCES"}, {"LISTENER"}, {"OWNER"}};
  if (facts.guarded) columns.insert(columns.end(), {{"EXEMPTED", true}, {"LAST"}, {"SINCE"}});
  Table table(std::move(columns));
  const auto ago = [&](const std::optional<absl::Time>& time, const char* none) {
    return time ? absl::StrCat(base::ShortDuration(facts.now - *time), " ago") : none;
  };
  for (const core::Conflict& conflict : conflicts) {
    std::vector<Cell> row = {
        core::ToString(conflict.key), conflict.service.empty() ? "-" : conflict.service,
        abi::SourcesText(conflict.sources), core::AddressText(conflict.listener.address),
        OwnerText(conflict.listener, nullptr)};
    if (facts.guarded) {
      row.emplace_back(absl::StrCat(conflict.history.exempted));
      row.emplace_back(ago(conflict.history.last, "never"));
      row.emplace_back(ago(conflict.history.since, "-"));
    }
    table.AddRow(std::move(row));
  }
  return absl::StrCat(table.Render(style, "  "), RenderOwners({}, conflicts, style));
}

}  // namespace

ScanReport MakeScanReport(const ScanFacts& facts, const core::OwnerPolicy& policy) {
  ScanReport report;
  report.facts = &facts;
  size_t unknown = 0;
  // Whose owner is not known may be a victim: better named than passed over.
  const auto ignores = [&](const core::Listener& listener) {
    return listener.owner.pid != 0 && policy.Ignores(listener.owner.comm);
  };
  for (core::Conflict& conflict :
       core::FindConflicts(facts.ports, facts.candidates, facts.own, facts.histories, ignores)) {
    if (conflict.listener.owner.pid == 0) ++unknown;
    (conflict.ignored ? report.ignored : report.conflicts).push_back(std::move(conflict));
  }
  for (const std::string& line : facts.failed_sources) {
    report.notes.push_back(absl::StrCat("not looked at: ", line));
  }
  for (const std::string& line : facts.skipped)
    report.notes.push_back(absl::StrCat("skipped: ", line));
  if (unknown > 0) {
    report.notes.push_back(absl::StrCat(
        "of ", Count(unknown, "listener"), " no process was found",
        facts.gaps.unreadable_processes > 0 ? "; run it as root to see those of other users" : ""));
  }
  return report;
}

std::string RenderScan(const ScanReport& report, const Style& style) {
  std::string out;
  if (report.conflicts.empty()) {
    out = absl::StrCat("No conflicts: ", LookedAt(*report.facts), " looked at.\n");
  } else {
    const size_t count = report.conflicts.size();
    out = Paint(absl::StrCat("Conflicts: ", Count(count, "listener"), count == 1 ? " has" : " have",
                             " the port of a NodePort"),
                Tone::kHeading, style);
    absl::StrAppend(&out, "\n", TableOf(report.conflicts, *report.facts, style), "\n",
                    LookedAt(*report.facts), " looked at.\n",
                    report.facts->guarded
                        ? "A guard is loaded: see 'nodeport-guard status'.\n"
                        : "This node's own connects to these listeners can end up in the Service;\n"
                          "'nodeport-guard run' prevents that.\n");
  }
  if (!report.ignored.empty()) {
    absl::StrAppend(&out, "\nIgnored, by --ignore-process or --only-process:\n",
                    TableOf(report.ignored, *report.facts, style));
  }
  if (!report.notes.empty()) absl::StrAppend(&out, "\n");
  for (const std::string& note : report.notes) {
    absl::StrAppend(&out, "Note: ", base::Printable(note), "\n");
  }
  return out;
}

Json ScanJson(const ScanReport& report) {
  Json json;
  json["conflicts"] = ConflictsJson(report.conflicts);
  json["ignored"] = ConflictsJson(report.ignored);
  json["nodeports"]["total"] = report.facts->ports.size();
  for (const auto& [name, count] : report.facts->sources) json["nodeports"][name] = count;
  json["listeners"] = report.facts->listeners;
  json["guarded"] = report.facts->guarded;
  json["notes"] = report.notes;
  return json;
}

}  // namespace npg::cli
