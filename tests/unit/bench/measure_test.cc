// SPDX-License-Identifier: Apache-2.0
#include "bench/measure.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace npg::bench::measure_test {
namespace {

using ::testing::ElementsAre;

// Without anything to run: "none", "empty", "empty again" and "guard".
Comparison FourVariants() {
  return {"packets",
          "TCP",
          {{"none", nullptr, nullptr, nullptr},
           {"empty", nullptr, nullptr, nullptr},
           {"empty again", nullptr, nullptr, nullptr},
           {"guard", nullptr, nullptr, nullptr}}};
}

TEST(Quantile, IsTheNearestValue) {
  EXPECT_EQ(Quantile({7}, 0.5), 7);
  EXPECT_EQ(Quantile({5, 1, 4, 2, 3}, 0), 1);
  EXPECT_EQ(Quantile({5, 1, 4, 2, 3}, 0.25), 2);
  EXPECT_EQ(Quantile({5, 1, 4, 2, 3}, 0.5), 3);
  EXPECT_EQ(Quantile({5, 1, 4, 2, 3}, 1), 5);
}

TEST(Summarize, TakesRatiosToTheFirstAndToTheFloor) {
  const Result result = Summarize(FourVariants(), {{100}, {200}, {200}, {300}});
  EXPECT_EQ(result.rounds, 1u);
  EXPECT_EQ(result.floor, "empty");
  ASSERT_EQ(result.variants.size(), 4u);
  const VariantResult& guard = result.variants[3];
  EXPECT_EQ(guard.name, "guard");
  EXPECT_EQ(guard.nanoseconds, 300);
  EXPECT_EQ(guard.difference, 200);
  EXPECT_DOUBLE_EQ(guard.to_first.median, 3);
  EXPECT_DOUBLE_EQ(guard.to_floor.median, 1.5);
  EXPECT_DOUBLE_EQ(result.variants[0].to_floor.median, 0.5);
}

TEST(Summarize, TakesRatiosRoundByRound) {
  // The machine becomes ten times as slow; "guard" stays 2, 3, 4, 5 and 6 times the floor.
  const Result result = Summarize(
      FourVariants(), {{1, 1, 1, 10, 10}, {1, 1, 1, 10, 10}, {1, 1, 1, 10, 10}, {6, 2, 4, 30, 50}});
  const VariantResult& guard = result.variants[3];
  EXPECT_EQ(guard.nanoseconds, 6);
  EXPECT_DOUBLE_EQ(guard.to_floor.median, 4);
  EXPECT_DOUBLE_EQ(guard.to_floor.low, 3);
  EXPECT_DOUBLE_EQ(guard.to_floor.high, 5);
}

TEST(Summarize, NoiseIsTheDifferenceOfTheEqualVariants) {
  const auto noise = [](double again) {
    return Summarize(FourVariants(), {{50}, {200}, {again}, {999}}).noise;
  };
  EXPECT_DOUBLE_EQ(noise(200), 0);
  EXPECT_DOUBLE_EQ(noise(225), 0.125);
  EXPECT_DOUBLE_EQ(noise(175), 0.125);

  Comparison other = FourVariants();
  other.floor = 0;
  other.floor_again = 3;
  EXPECT_DOUBLE_EQ(Summarize(other, {{100}, {1}, {1}, {150}}).noise, 0.5);
}

TEST(Summarize, GoalIsARatioToTheVariantThatItNames) {
  Comparison comparison = FourVariants();
  comparison.variants[3].goal = Goal{1.25, 2};
  const auto goal = [&](double guard) {
    const Result result = Summarize(comparison, {{1}, {2}, {4}, {guard}});
    EXPECT_FALSE(result.variants[2].goal);
    return result.variants[3].goal.value();
  };
  EXPECT_EQ(goal(5).to, "empty again");
  EXPECT_DOUBLE_EQ(goal(5).limit, 1.25);
  EXPECT_DOUBLE_EQ(goal(5).ratio.median, 1.25);
  EXPECT_TRUE(goal(5).met());
  EXPECT_FALSE(goal(5.1).met());
}

TEST(Compare, RunsEachVariantInEveryRound) {
  std::string order;
  Comparison comparison{"group", "what", {}};
  for (const char letter : {'a', 'b', 'c'}) {
    comparison.variants.push_back(
        {std::string(1, letter), nullptr, nullptr, [&order, letter]() -> absl::StatusOr<double> {
           order += letter;
           return letter - 'a' + 1;
         }});
  }
  const absl::StatusOr<Result> result =
      Compare(comparison, absl::ZeroDuration(), [] { return false; });
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->rounds, 5u);
  // Each one twice, of which the first one is not recorded.
  EXPECT_EQ(order.substr(0, 12), "aabbccccbbaa");
  EXPECT_EQ(order.size(), 30u);
  std::vector<double> times;
  for (const VariantResult& variant : result->variants) times.push_back(variant.nanoseconds);
  EXPECT_THAT(times, ElementsAre(1, 2, 3));
}

TEST(Compare, NamesTheVariantThatFails) {
  Comparison comparison = FourVariants();
  for (Variant& variant : comparison.variants) variant.batch = [] { return 1.0; };
  comparison.variants[3].batch = [] { return absl::InternalError("no port"); };
  const auto result = Compare(comparison, absl::ZeroDuration(), [] { return false; });
  EXPECT_EQ(result.status().message(), "packets, TCP, guard: no port");
  EXPECT_EQ(Compare(comparison, absl::ZeroDuration(), [] { return true; }).status().code(),
            absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace npg::bench::measure_test
