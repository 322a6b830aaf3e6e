// SPDX-License-Identifier: Apache-2.0
// What a self-probe could not test stays as it was.
#include "controller/standing_aside.h"

#include <gtest/gtest.h>

#include "abi/names.h"

namespace npg::controller::standing_aside_test {
namespace {

constexpr abi::TrafficBits kAll = abi::AllTraffic();
constexpr abi::TrafficBits kTcp4 = abi::Bit(abi::Traffic::kTcp4);
constexpr abi::TrafficBits kUdp4 = abi::Bit(abi::Traffic::kUdp4);

TEST(AsideAfterTest, FollowsWhatWasTested) {
  EXPECT_EQ(AsideAfter(0, kAll, 0), 0U);
  EXPECT_EQ(AsideAfter(kAll, kAll, 0), 0U);
  EXPECT_EQ(AsideAfter(0, kAll, kTcp4), kTcp4);
  EXPECT_EQ(AsideAfter(kUdp4, kAll, kTcp4), kTcp4);
}

TEST(AsideAfterTest, KeepsWhatWasNotTested) {
  for (const abi::TrafficBits former : {abi::TrafficBits{0}, kTcp4, kTcp4 | kUdp4, kAll}) {
    EXPECT_EQ(AsideAfter(former, 0, 0), former);
    EXPECT_EQ(AsideAfter(former, kUdp4, kUdp4), former | kUdp4);
    EXPECT_EQ(AsideAfter(former, kUdp4, 0), former & ~kUdp4);
  }
}

}  // namespace
}  // namespace npg::controller::standing_aside_test
