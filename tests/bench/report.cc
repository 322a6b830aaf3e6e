// SPDX-License-Identifier: Apache-2.0
#include "bench/report.h"

#include <sys/utsname.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/figure.h"
#include "bench/measure.h"
#include "nlohmann/json.hpp"

namespace npg::bench {
namespace {

std::string Kernel() {
  utsname name{};
  if (uname(&name) != 0) return "unknown";
  return absl::StrCat(name.release, " ", name.machine);
}

}  // namespace

std::string Table(const std::vector<Result>& results) {
  std::string text =
      absl::StrCat("Linux ", Kernel(), ". Processor time of one operation, median of all rounds.\n",
                   "Ratios are to the first line of each block, round by round; 25-75 %: the\n",
                   "middle half of them.\n");
  for (const Result& result : results) {
    absl::StrAppendFormat(&text, "\n%-38s%8s %8s %7s   %s\n",
                          absl::StrCat(result.group, ": ", result.what), "ns", "+ns", "ratio",
                          "25-75 %");
    for (const VariantResult& v : result.variants) {
      absl::StrAppendFormat(&text, "  %-36s%8.0f %+8.0f %7.3f   %.3f-%.3f\n", v.name, v.nanoseconds,
                            v.difference, v.ratio, v.ratio_low, v.ratio_high);
    }
  }
  return text;
}

std::string Json(const std::vector<Result>& results) {
  nlohmann::json all = nlohmann::json::array();
  for (const Result& result : results) {
    nlohmann::json variants = nlohmann::json::array();
    for (const VariantResult& v : result.variants) {
      variants.push_back({{"name", v.name},
                          {"nanoseconds", v.nanoseconds},
                          {"difference", v.difference},
                          {"ratio", v.ratio},
                          {"ratio_low", v.ratio_low},
                          {"ratio_high", v.ratio_high}});
    }
    all.push_back({{"group", result.group},
                   {"what", result.what},
                   {"rounds", result.rounds},
                   {"variants", variants}});
  }
  return nlohmann::json{{"kernel", Kernel()}, {"results", all}}.dump(2) + "\n";
}

std::string Table(const std::vector<Figure>& figures) {
  std::string text = absl::StrCat("Linux ", Kernel(), ". Goals are upper limits.\n");
  const std::string* group = nullptr;
  for (const Figure& f : figures) {
    if (group == nullptr || *group != f.group) {
      absl::StrAppendFormat(&text, "\n%-45s%9s %-6s%7s\n", f.group, "", "", "goal");
    }
    group = &f.group;
    absl::StrAppendFormat(&text, "  %-43s%9.3f %-6s", f.what, f.value, f.unit);
    if (f.goal) absl::StrAppendFormat(&text, "%7g  %s", *f.goal, f.met() ? "met" : "MISSED");
    absl::StrAppend(&text, "\n");
  }
  return text;
}

std::string Json(const std::vector<Figure>& figures) {
  nlohmann::json all = nlohmann::json::array();
  for (const Figure& f : figures) {
    nlohmann::json figure = {
        {"group", f.group}, {"what", f.what}, {"unit", f.unit}, {"value", f.value}};
    figure["goal"] = f.goal ? nlohmann::json(*f.goal) : nlohmann::json();
    figure["met"] = f.goal ? nlohmann::json(f.met()) : nlohmann::json();
    all.push_back(std::move(figure));
  }
  return nlohmann::json{{"kernel", Kernel()}, {"figures", all}}.dump(2) + "\n";
}

}  // namespace npg::bench
