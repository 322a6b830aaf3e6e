// SPDX-License-Identifier: Apache-2.0
#include "bench/report.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/environment.h"
#include "bench/figure.h"
#include "bench/measure.h"
#include "nlohmann/json.hpp"

namespace npg::bench {
namespace {

const char* Judgement(bool met) { return met ? "met" : "MISSED"; }

std::string Range(const Ratio& ratio) {
  return absl::StrFormat("%.3f-%.3f", ratio.low, ratio.high);
}

std::string Judgement(const GoalResult& goal) {
  return absl::StrFormat("  %.2f %s", goal.limit, Judgement(goal.met()));
}

// A line; a goal that is not a ratio to the floor has a second one.
void AppendVariant(const VariantResult& v, const std::string& floor, std::string& text) {
  absl::StrAppendFormat(&text, "  %-34s%8.0f %+8.0f %7.3f %8.3f   %s", v.name, v.nanoseconds,
                        v.difference, v.to_first.median, v.to_floor.median, Range(v.to_floor));
  if (v.goal && v.goal->to == floor) absl::StrAppend(&text, Judgement(*v.goal));
  absl::StrAppend(&text, "\n");
  if (!v.goal || v.goal->to == floor) return;
  absl::StrAppendFormat(&text, "    %-57s%8.3f   %s%s\n", absl::StrCat("to \"", v.goal->to, "\""),
                        v.goal->ratio.median, Range(v.goal->ratio), Judgement(*v.goal));
}

nlohmann::json GoalJson(const std::optional<GoalResult>& goal) {
  if (!goal) return nullptr;
  return {{"to", goal->to},
          {"limit", goal->limit},
          {"ratio", goal->ratio.median},
          {"ratio_low", goal->ratio.low},
          {"ratio_high", goal->ratio.high},
          {"met", goal->met()}};
}

}  // namespace

std::string Json(const Environment& environment, const char* key, nlohmann::json values) {
  return nlohmann::json{
             {"kernel", environment.kernel},
             {"machine",
              {{"processor", environment.processor}, {"processors", environment.processors}}},
             {"commit", environment.commit},
             {"date", environment.date},
             {key, std::move(values)}}
             .dump(2) +
         "\n";
}

std::string Table(const std::vector<Result>& results, const Environment& environment) {
  std::string text = absl::StrCat(
      "Linux ", environment.kernel,
      ". Processor time of one operation, median of all rounds.\n"
      "+ns and ratio: to the first line of each block; to floor: to its empty program or chain,\n"
      "round by round; 25-75 %: the middle half of these. Noise: by how much two equal lines\n"
      "differ. Goals are upper limits, of the ratio to the floor or to the line that is named.\n");
  for (const Result& result : results) {
    absl::StrAppendFormat(&text, "\n%-36s%8s %8s %7s %8s   %-11s  %s\n",
                          absl::StrCat(result.group, ": ", result.what), "ns", "+ns", "ratio",
                          "to floor", "25-75 %", "goal");
    for (const VariantResult& v : result.variants) AppendVariant(v, result.floor, text);
    absl::StrAppendFormat(&text, "  noise %.1f %%, %u rounds\n", result.noise * 100, result.rounds);
  }
  return text;
}

std::string Json(const std::vector<Result>& results, const Environment& environment) {
  nlohmann::json all = nlohmann::json::array();
  for (const Result& result : results) {
    nlohmann::json variants = nlohmann::json::array();
    for (const VariantResult& v : result.variants) {
      variants.push_back({{"name", v.name},
                          {"nanoseconds", v.nanoseconds},
                          {"difference", v.difference},
                          {"ratio", v.to_first.median},
                          {"ratio_low", v.to_first.low},
                          {"ratio_high", v.to_first.high},
                          {"to_floor", v.to_floor.median},
                          {"to_floor_low", v.to_floor.low},
                          {"to_floor_high", v.to_floor.high},
                          {"goal", GoalJson(v.goal)}});
    }
    all.push_back({{"group", result.group},
                   {"what", result.what},
                   {"rounds", result.rounds},
                   {"floor", result.floor},
                   {"noise", result.noise},
                   {"variants", variants}});
  }
  return Json(environment, "results", std::move(all));
}

std::string Table(const std::vector<Figure>& figures, const Environment& environment) {
  std::string text = absl::StrCat("Linux ", environment.kernel, ". Goals are upper limits.\n");
  const std::string* group = nullptr;
  for (const Figure& f : figures) {
    if (group == nullptr || *group != f.group) {
      absl::StrAppendFormat(&text, "\n%-45s%9s %-6s%7s\n", f.group, "", "", "goal");
    }
    group = &f.group;
    absl::StrAppendFormat(&text, "  %-43s%9.3f %-6s", f.what, f.value, f.unit);
    if (f.goal) absl::StrAppendFormat(&text, "%7g  %s", *f.goal, Judgement(f.met()));
    absl::StrAppend(&text, "\n");
  }
  return text;
}

std::string Json(const std::vector<Figure>& figures, const Environment& environment) {
  nlohmann::json all = nlohmann::json::array();
  for (const Figure& f : figures) {
    nlohmann::json figure = {
        {"group", f.group}, {"what", f.what}, {"unit", f.unit}, {"value", f.value}};
    figure["goal"] = f.goal ? nlohmann::json(*f.goal) : nlohmann::json();
    figure["met"] = f.goal ? nlohmann::json(f.met()) : nlohmann::json();
    all.push_back(std::move(figure));
  }
  return Json(environment, "figures", std::move(all));
}

}  // namespace npg::bench
