// SPDX-License-Identifier: Apache-2.0
#include "bench/fleet_arithmetic.h"

#include <gtest/gtest.h>

namespace npg::bench {
namespace {

constexpr Messages kDay = {
    .lists = 2, .watches = 190, .bookmarks = 1400, .events = 240, .other_events = 2400};
constexpr MessageBytes kBytes = {
    .lists = 1e6, .watches = 1000, .bookmarks = 200, .events = 2000, .other_events = 0};

TEST(FleetArithmetic, ADayIsTheSumOfItsMessages) {
  const DayOfNode day = CostOfDay(kDay, kBytes);
  EXPECT_DOUBLE_EQ(day.requests, 192);
  EXPECT_DOUBLE_EQ(day.bytes, 2e6 + 190e3 + 280e3 + 480e3);
}

TEST(FleetArithmetic, OtherEventsCostWhereTheyAreSent) {
  MessageBytes bytes = kBytes;
  bytes.other_events = 1500;
  EXPECT_DOUBLE_EQ(CostOfDay(kDay, bytes).bytes - CostOfDay(kDay, kBytes).bytes, 3.6e6);
}

TEST(FleetArithmetic, AFleetCostsItsNodesTimesOne) {
  const FleetLoad load = LoadOfFleet({.requests = 216, .bytes = 8.64e6}, 10000);
  EXPECT_DOUBLE_EQ(load.requests_per_second, 25);
  EXPECT_DOUBLE_EQ(load.bytes_per_second, 1e6);
  EXPECT_DOUBLE_EQ(load.bytes_per_day, 8.64e10);
}

TEST(FleetArithmetic, EventsAreBoundedByTriesAndSilence) {
  EXPECT_DOUBLE_EQ(MostEventRequests(1, 3, 24), 7);
  EXPECT_DOUBLE_EQ(MostEventRequests(2, 1, 12), 12);
  EXPECT_DOUBLE_EQ(MostEventRequests(0, 3, 24), 0);
}

}  // namespace
}  // namespace npg::bench
