// SPDX-License-Identifier: Apache-2.0
#include "inspect/scan.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "core/conflicts.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "inspect/json.h"
#include "inspect/status.h"
#include "inspect/text.h"

namespace npg::inspect {
namespace {

Json ConflictsJson(const std::vector<Conflict>& conflicts) {
  Json list = Json::array();
  for (const Conflict& conflict : conflicts) list.push_back(ConflictJson(conflict));
  return list;
}

}  // namespace

ScanReport MakeScanReport(const ScanFacts& facts, const core::OwnerPolicy& policy) {
  ScanReport report;
  report.facts = &facts;
  size_t unknown = 0;
  // A listener with an unknown owner may be affected: report it.
  const auto ignores = [&](const core::Listener& listener) {
    return listener.owner.pid != 0 && policy.Ignores(listener.owner.comm);
  };
  for (core::Conflict& found :
       core::FindConflicts(facts.ports, facts.candidates, facts.own, facts.histories, ignores)) {
    if (found.listener.owner.pid == 0) ++unknown;
    Conflict conflict{std::move(found), {}};
    conflict.owner = NameOf(conflict.listener, nullptr);
    (conflict.ignored ? report.ignored : report.conflicts).push_back(std::move(conflict));
  }
  for (const std::string& line : facts.failed_sources) {
    report.notes.push_back(absl::StrCat("not read: ", line));
  }
  for (const std::string& line : facts.skipped)
    report.notes.push_back(absl::StrCat("skipped: ", line));
  if (unknown > 0) {
    report.notes.push_back(absl::StrCat(
        "no process was found for ", base::Count(unknown, "listener"),
        facts.gaps.unreadable_processes > 0 ? "; run it as root to see those of other users" : ""));
  }
  return report;
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

}  // namespace npg::inspect
