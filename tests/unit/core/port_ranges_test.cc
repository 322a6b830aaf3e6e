// SPDX-License-Identifier: Apache-2.0
#include "core/port_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace npg::core::port_ranges_test {
namespace {

using ::testing::IsEmpty;

TEST(PortRangesTest, ParseAndPrint) {
  const auto ranges = ParsePortRanges(" 9000-9100,8080,8081\n");
  ASSERT_TRUE(ranges.ok()) << ranges.status();
  EXPECT_EQ(PortRangesText(*ranges), "8080-8081,9000-9100");
  EXPECT_TRUE(Contains(*ranges, 9050));
  EXPECT_FALSE(Contains(*ranges, 8082));
  EXPECT_THAT(*ParsePortRanges("\n"), IsEmpty());
  for (const char* bad : {"x", "1-", "9-1", "70000", "1,,2"}) {
    EXPECT_FALSE(ParsePortRanges(bad).ok()) << bad;
  }
}

TEST(PortRangesTest, SetsOfPorts) {
  EXPECT_EQ(PortRangesText(Without({10, 20}, {{12, 13}, {20, 30}, {1, 10}})), "11,14-19");
  EXPECT_EQ(PortRangesText(Without({10, 20}, {})), "10-20");
  EXPECT_THAT(Without({10, 20}, {{1, 65535}}), IsEmpty());
  EXPECT_EQ(PortRangesText(Without({65534, 65535}, {{65535, 65535}})), "65534");
  EXPECT_EQ(PortRangesText(Intersect({{1, 15}, {18, 40}}, {10, 20})), "10-15,18-20");
  EXPECT_EQ(PortRangesText(ToRanges({3, 1, 2, 7})), "1-3,7");
}

TEST(PortRangesTest, AlgebraOfTwoSets) {
  const PortRanges a = {{1, 15}, {18, 40}, {65530, 65535}};
  const PortRanges b = {{0, 2}, {10, 20}, {22, 22}, {30, 30}, {65535, 65535}};
  EXPECT_EQ(PortRangesText(Intersect(a, b)), "1-2,10-15,18-20,22,30,65535");
  EXPECT_EQ(Intersect(a, b), Intersect(b, a));
  EXPECT_EQ(PortRangesText(Without(a, b)), "3-9,21,23-29,31-40,65530-65534");
  EXPECT_EQ(PortRangesText(Without(b, a)), "0,16-17");
  EXPECT_EQ(PortRangesText(Union(a, b)), "0-40,65530-65535");
  EXPECT_THAT(Intersect(a, PortRanges()), IsEmpty());
  EXPECT_THAT(Without(PortRanges(), b), IsEmpty());
  EXPECT_EQ(Without(a, PortRanges()), a);
  EXPECT_THAT(Without(a, PortRanges{{0, 65535}}), IsEmpty());
  // Ranges that touch, overlap or repeat are the same set.
  EXPECT_EQ(Merged({{5, 6}, {1, 3}, {4, 4}, {2, 6}}), (PortRanges{{1, 6}}));
}

TEST(PortRangesTest, CoarseFillsTheSmallestGaps) {
  const PortRanges ranges = {{10, 10}, {13, 13}, {15, 20}, {40, 50}, {49, 60}};
  EXPECT_EQ(PortRangesText(Coarse(ranges, 9)), "10,13,15-20,40-60");
  EXPECT_EQ(PortRangesText(Coarse(ranges, 4)), "10,13,15-20,40-60");
  EXPECT_EQ(PortRangesText(Coarse(ranges, 3)), "10,13-20,40-60");
  EXPECT_EQ(PortRangesText(Coarse(ranges, 2)), "10-20,40-60");
  EXPECT_EQ(PortRangesText(Coarse(ranges, 1)), "10-60");
  EXPECT_EQ(PortRangesText(Coarse({{0, 0}, {65535, 65535}}, 1)), "0-65535");
  EXPECT_THAT(Coarse({}, 1), IsEmpty());
  EXPECT_EQ(CountPorts(ranges), 29);
  EXPECT_EQ(CountPorts({{0, 65535}}), 65536);
}

}  // namespace
}  // namespace npg::core::port_ranges_test
