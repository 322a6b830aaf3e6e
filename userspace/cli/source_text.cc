// SPDX-License-Identifier: Apache-2.0
#include "cli/source_text.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "abi/guard_abi_text.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/printable.h"
#include "base/short_duration.h"
#include "cli/args/text.h"
#include "cli/guard_facts.h"
#include "cli/table.h"
#include "guard_abi.h"

namespace npg::cli {
namespace {

using Json = nlohmann::ordered_json;

absl::Time At(uint64_t seconds) { return absl::FromUnixSeconds(static_cast<int64_t>(seconds)); }

std::string For(const GuardFacts& facts, uint64_t since) {
  return base::ShortDuration(facts.now - At(since));
}

std::string Why(const npg_source_state& state) {
  const absl::string_view error = abi::FieldText(state.last_error);
  return error.empty() ? "it has not answered yet" : std::string(error);
}

// Without a controller nothing is connected, and durations would grow for ever.
std::string ConnectionText(const GuardFacts& facts, const npg_source_state& state) {
  const bool running = facts.controller != 0;
  std::string text =
      absl::StrCat(running ? "" : "was ", state.connected != 0 ? "" : "not ", "connected");
  if (running) absl::StrAppend(&text, " for ", For(facts, state.since));
  if (state.connected == 0) absl::StrAppend(&text, ": ", Why(state));
  return text;
}

std::string HeardText(const GuardFacts& facts, const npg_source_state& state) {
  if (state.last_event == 0) return "nothing heard yet";
  std::string text = absl::StrCat("last heard from ", For(facts, state.last_event), " ago");
  const absl::string_view version = abi::FieldText(state.resource_version);
  if (!version.empty()) absl::StrAppend(&text, ", resourceVersion ", version);
  return text;
}

std::string SaysText(const npg_source_state& state) {
  std::string text = absl::StrCat(Count(state.ports, "port"));
  if (state.services > 0) absl::StrAppend(&text, " of ", Count(state.services, "Service"));
  if (state.health_check_ports > 0) {
    absl::StrAppend(&text, "; ", Count(state.health_check_ports, "health check port"));
  }
  if (state.skipped > 0) absl::StrAppend(&text, "; ", state.skipped, " skipped");
  return text;
}

// "connect 3, expired 1"; "" when there were none.
std::string ErrorsText(const npg_source_state& state) {
  std::vector<std::string> kinds;
  for (int i = 0; i < NPG_SOURCE_ERROR_MAX; ++i) {
    if (state.errors[i] == 0) continue;
    kinds.push_back(
        absl::StrCat(abi::SourceErrorName(static_cast<npg_source_error>(i)), " ", state.errors[i]));
  }
  return absl::StrJoin(kinds, ", ");
}

Json TimeJson(uint64_t seconds) {
  return seconds == 0 ? Json(nullptr) : Json(UtcTime(At(seconds)));
}

// What a server or a file name has put there may not be UTF-8, which JSON must be.
Json TextJson(absl::string_view text) {
  return text.empty() ? Json(nullptr) : Json(base::Printable(text));
}

}  // namespace

std::string RenderSources(const GuardFacts& facts, const Style& style) {
  if (facts.sources.empty()) return "";
  Table table({{"", false, false}, {"", false, true}});
  for (const auto& [key, state] : facts.sources) {
    const Tone tone = state.connected != 0 ? Tone::kPlain : Tone::kWarn;
    table.AddRow({std::string(abi::SourceName(key.source)), {ConnectionText(facts, state), tone}});
    table.AddRow({"", HeardText(facts, state)});
    table.AddRow({"", SaysText(state)});
    const absl::string_view detail = abi::FieldText(state.detail);
    if (!detail.empty()) table.AddRow({"", std::string(detail)});
    const std::string errors = ErrorsText(state);
    if (!errors.empty()) table.AddRow({"", absl::StrCat("errors: ", errors)});
  }
  const absl::string_view title =
      facts.controller != 0 ? "Sources" : "Sources, as they were when the last controller ended";
  return absl::StrCat(Paint(title, Tone::kHeading, style), "\n", table.Render(style, "  "));
}

Json SourceStatesJson(const GuardFacts& facts) {
  Json list = Json::array();
  for (const auto& [key, state] : facts.sources) {
    Json entry;
    entry["source"] = std::string(abi::SourceName(key.source));
    entry["connected"] = state.connected != 0;
    entry["since"] = TimeJson(state.since);
    entry["last_event"] = TimeJson(state.last_event);
    entry["last_reading"] = TimeJson(state.last_reading);
    entry["services"] = state.services;
    entry["ports"] = state.ports;
    entry["health_check_ports"] = state.health_check_ports;
    entry["skipped"] = state.skipped;
    entry["errors"] = Json::object();
    for (int i = 0; i < NPG_SOURCE_ERROR_MAX; ++i) {
      const auto error = static_cast<npg_source_error>(i);
      entry["errors"][std::string(abi::SourceErrorName(error))] = state.errors[i];
    }
    entry["resource_version"] = TextJson(abi::FieldText(state.resource_version));
    entry["last_error"] = TextJson(abi::FieldText(state.last_error));
    entry["detail"] = TextJson(abi::FieldText(state.detail));
    list.push_back(std::move(entry));
  }
  return list;
}

std::vector<std::string> SourceNotes(const GuardFacts& facts) {
  std::vector<std::string> notes;
  if (facts.controller == 0) return notes;
  for (const auto& [key, state] : facts.sources) {
    if (state.connected != 0) continue;
    notes.push_back(absl::StrCat("source ", abi::SourceName(key.source), " is not connected since ",
                                 UtcTime(At(state.since)), " and what it last said stays guarded: ",
                                 base::Printable(Why(state))));
  }
  return notes;
}

}  // namespace npg::cli
