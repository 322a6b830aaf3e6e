// SPDX-License-Identifier: Apache-2.0
#include "rules/port_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bitset>
#include <cstdint>
#include <random>

namespace npg::rules::port_set_test {
namespace {

TEST(PortSet, LeavesPort0Out) {
  EXPECT_EQ(PortSet::Of(0, 5), PortSet::Of(1, 5));
  EXPECT_TRUE(PortSet::Of(0).empty());
  EXPECT_TRUE(PortSet::Of(7, 6).empty());
  PortSet set;
  set.Add({0, 0});
  EXPECT_TRUE(set.empty());
  EXPECT_EQ(PortSet::All().size(), 65535U);
}

TEST(PortSet, JoinsRangesThatTouch) {
  PortSet set = PortSet::Of(10, 12);
  set.Add({14, 20});
  EXPECT_EQ(set.ranges().size(), 2U);
  set.Add({13, 13});
  EXPECT_EQ(set, PortSet::Of(10, 20));
  set.Add({65535, 65535});
  set.Add({21, 65534});
  EXPECT_EQ(set, PortSet::Of(10, 65535));
}

// Against a set of bits, at random; ports near both ends of the numbers come often.
TEST(PortSet, DoesWhatASetOfBitsDoes) {
  std::mt19937 engine(1);
  const auto random = [&engine] { return static_cast<uint32_t>(engine()); };
  PortSet set;
  PortSet other;
  std::bitset<65536> bits;
  std::bitset<65536> other_bits;
  for (int round = 0; round < 3000; ++round) {
    const uint32_t base = random() % 2 == 0 ? 1 : 65400;
    const auto first = static_cast<uint16_t>(base + random() % 136);
    const auto last = static_cast<uint16_t>(std::min<uint32_t>(65535, first + random() % 9));
    const bool add = random() % 2 == 0;
    if (add) {
      set.Add({first, last});
    } else {
      set.Remove({first, last});
    }
    for (uint32_t port = first; port <= last; ++port) bits.set(port, add);
    ASSERT_EQ(set.size(), bits.count());
    for (const PortSet::Range& range : set.ranges()) {
      ASSERT_TRUE(bits.test(range.first) && bits.test(range.last));
      ASSERT_FALSE(range.first > 1 && bits.test(range.first - 1U));
    }
    ASSERT_EQ(set.Contains(first), add);
    ASSERT_EQ((set & other).size(), (bits & other_bits).count());
    PortSet less = set;
    less.Remove(other);
    ASSERT_EQ(less.size(), (bits & ~other_bits).count());
    PortSet both = set;
    both.Add(other);
    ASSERT_EQ(both.size(), (bits | other_bits).count());
    if (round % 10 == 0) {
      other = set;
      other_bits = bits;
    }
  }
}

}  // namespace
}  // namespace npg::rules::port_set_test
