// SPDX-License-Identifier: Apache-2.0
#include "bench/report.h"

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "bench/environment.h"
#include "bench/figure.h"
#include "bench/measure.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace npg::bench::report_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const Environment& Machine() {
  static const Environment machine = {"6.18.0 x86_64", "A CPU", 2, "0123456789ab",
                                      "2026-01-02T03:04:05Z"};
  return machine;
}

// A goal to the floor that is met, and one to another variant that is not.
std::vector<Result> Results() {
  Result result{"packets", "TCP ping-pong", 7, "empty chain", 0.004, {}};
  result.variants = {{"no table", 1000, 0, {}, {0.98, 0.97, 0.99}},
                     {"empty chain", 1020, 20, {1.02, 1.01, 1.03}, {}},
                     {"table",
                      1030,
                      30,
                      {1.03, 1, 1.1},
                      {1.0098, 1, 1.02},
                      GoalResult{"empty chain", 1.01, {1.0098, 1, 1.02}}},
                     {"exempt",
                      900,
                      -100,
                      {0.9, 0.8, 1},
                      {0.88, 0.87, 0.89},
                      GoalResult{"table", 0.8, {0.874, 0.86, 0.88}}}};
  return {result};
}

TEST(Report, TableHasBothRatiosNoiseAndGoals) {
  const std::string text = Table(Results(), Machine());
  EXPECT_THAT(text, HasSubstr("1030      +30   1.030    1.010   1.000-1.020  1.01 met\n"));
  EXPECT_THAT(text, HasSubstr("0.900    0.880   0.870-0.890\n    to \"table\" "));
  EXPECT_THAT(text, HasSubstr("0.874   0.860-0.880  0.80 MISSED\n"));
  EXPECT_THAT(text, HasSubstr("  noise 0.4 %, 7 rounds\n"));
  for (const absl::string_view line : absl::StrSplit(text, '\n')) EXPECT_LT(line.size(), 100u);
}

TEST(Report, JsonHasEnvironmentNoiseAndGoals) {
  const auto json = nlohmann::json::parse(Json(Results(), Machine()));
  EXPECT_EQ(json["kernel"], "6.18.0 x86_64");
  EXPECT_EQ(json["machine"]["processor"], "A CPU");
  EXPECT_EQ(json["machine"]["processors"], 2);
  EXPECT_EQ(json["commit"], "0123456789ab");
  EXPECT_EQ(json["date"], "2026-01-02T03:04:05Z");
  const auto& result = json["results"][0];
  EXPECT_EQ(result["floor"], "empty chain");
  EXPECT_EQ(result["noise"], 0.004);
  const auto& table = result["variants"][2];
  EXPECT_EQ(table["ratio"], 1.03);
  EXPECT_EQ(table["to_floor"], 1.0098);
  EXPECT_EQ(table["to_floor_high"], 1.02);
  EXPECT_EQ(table["goal"]["met"], true);
  EXPECT_EQ(result["variants"][3]["goal"]["to"], "table");
  EXPECT_EQ(result["variants"][3]["goal"]["met"], false);
  EXPECT_TRUE(result["variants"][0]["goal"].is_null());
}

TEST(Report, FiguresAreJudgedByTheirGoals) {
  const std::vector<Figure> figures = {{"list", "CPU", "s", 2, 1}, {"list", "Services", "", 3}};
  EXPECT_THAT(Table(figures, Machine()), HasSubstr("1  MISSED\n"));
  EXPECT_THAT(Table(figures, Machine()), Not(HasSubstr(" met\n")));
  const auto json = nlohmann::json::parse(Json(figures, Machine()));
  EXPECT_EQ(json["commit"], "0123456789ab");
  EXPECT_EQ(json["figures"][0]["met"], false);
  EXPECT_TRUE(json["figures"][1]["goal"].is_null());
}

TEST(ProcessorModel, IsReadFromTheFirstOne) {
  EXPECT_EQ(ProcessorModel("processor\t: 0\nmodel\t\t: 6\nmodel name\t: A: B @ 2 GHz\n"
                           "processor\t: 1\nmodel name\t: other\n"),
            "A: B @ 2 GHz");
  EXPECT_EQ(ProcessorModel("processor\t: 0\nBogoMIPS\t: 50\n"), "unknown");
}

TEST(ReadEnvironment, KnowsThisMachine) {
  const Environment environment = ReadEnvironment();
  EXPECT_NE(environment.kernel, "unknown");
  EXPECT_GE(environment.processors, 1);
  EXPECT_NE(environment.commit, "");
  EXPECT_THAT(environment.date, ::testing::MatchesRegex("20..-..-..T..:..:..Z"));
}

}  // namespace
}  // namespace npg::bench::report_test
