// SPDX-License-Identifier: Apache-2.0
#include "core/coverage.h"

#include <gtest/gtest.h>

namespace npg::core::coverage_test {
namespace {

TEST(CoverageTest, ASourceThatSeesAllMakesUpForTheOthers) {
  EXPECT_EQ(Together({Coverage::kAll}, false), Coverage::kAll);
  EXPECT_EQ(Together({Coverage::kNone, Coverage::kAll}, false), Coverage::kAll);
  EXPECT_EQ(Together({Coverage::kNone, Coverage::kPart}, false), Coverage::kPart);
  EXPECT_EQ(Together({Coverage::kNone}, false), Coverage::kNone);
}

TEST(CoverageTest, AFailedSourceMayHaveMore) {
  EXPECT_EQ(Together({Coverage::kAll}, true), Coverage::kPart);
  EXPECT_EQ(Together({Coverage::kNone}, true), Coverage::kNone);
  EXPECT_EQ(Together({}, true), Coverage::kNone);
}

}  // namespace
}  // namespace npg::core::coverage_test
