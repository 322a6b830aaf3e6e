// SPDX-License-Identifier: Apache-2.0
#include "sources/cpu_budget.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "absl/time/time.h"

namespace npg::sources::cpu_budget_test {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

TEST(CpuBudgetTest, AllowsBurstsAndAShare) {
  uint64_t now = 5 * kSecond;
  CpuBudget budget({.share = 0.025, .burst = absl::Seconds(1)}, now);
  EXPECT_EQ(budget.Wait(now), absl::ZeroDuration());
  budget.Spend(absl::Milliseconds(900), now);
  EXPECT_EQ(budget.Wait(now), absl::ZeroDuration());
  budget.Spend(absl::Milliseconds(200), now);
  const absl::Duration wait = budget.Wait(now);
  EXPECT_GE(wait, absl::Milliseconds(3999));
  EXPECT_LE(wait, absl::Milliseconds(4002));
  now += 3 * kSecond;
  EXPECT_GT(budget.Wait(now), absl::Milliseconds(900));
  now += 2 * kSecond;
  EXPECT_EQ(budget.Wait(now), absl::ZeroDuration());
}

TEST(CpuBudgetTest, SavesNoMoreThanABurst) {
  uint64_t now = 0;
  CpuBudget budget({.share = 0.5, .burst = absl::Seconds(1)}, now);
  now += 3600 * kSecond;
  budget.Spend(absl::Milliseconds(1100), now);
  EXPECT_GT(budget.Wait(now), absl::ZeroDuration());
}

TEST(CpuBudgetTest, OwesNoMoreThanABurst) {
  CpuBudget budget({.share = 0.1, .burst = absl::Seconds(1)}, 0);
  budget.Spend(absl::Hours(1), 0);
  EXPECT_LE(budget.Wait(0), absl::Seconds(11));
  EXPECT_GE(budget.Wait(0), absl::Seconds(9));
}

}  // namespace
}  // namespace npg::sources::cpu_budget_test
