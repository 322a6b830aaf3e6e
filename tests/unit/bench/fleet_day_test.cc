// SPDX-License-Identifier: Apache-2.0
#include "bench/fleet_day.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "bench/fleet_arithmetic.h"

namespace npg::bench {
namespace {

constexpr Churn kQuiet = {.node_port_per_hour = 0, .other_per_hour = 0};
// 100 changes, which the watch cache keeps, last six minutes.
constexpr Churn kBusy = {.node_port_per_hour = 2, .other_per_hour = 1000};
constexpr uint64_t kSeed = 7;

TEST(FleetDay, AQuietDayHasBookmarksAndResumedWatches) {
  const Messages day = SimulateDay(kQuiet, {}, kSeed);
  // The first list, and one or two resyncs.
  EXPECT_GE(day.lists, 2);
  EXPECT_LE(day.lists, 3);
  // Watches of five to ten minutes.
  EXPECT_GT(day.watches, 144);
  EXPECT_LT(day.watches, 288);
  // One a minute, less those that would come after the end of a watch.
  EXPECT_GT(day.bookmarks, 1440 - 288);
  EXPECT_LT(day.bookmarks, 1440);
  EXPECT_EQ(day.events, 0);
  EXPECT_EQ(day.other_events, 0);
}

TEST(FleetDay, TheSelectorSavesTheEventsOfOthers) {
  const Messages with = SimulateDay(kBusy, {}, kSeed);
  const Messages without = SimulateDay(kBusy, {.selector = false}, kSeed);
  EXPECT_EQ(with.other_events, 0);
  EXPECT_GT(without.other_events, 22000);
  EXPECT_LT(without.other_events, 26000);
  EXPECT_GT(with.events, 0);
}

TEST(FleetDay, BookmarksSaveListsWhereOthersChange) {
  EXPECT_LE(SimulateDay(kBusy, {}, kSeed).lists, 3);
  const Messages without = SimulateDay(kBusy, {.bookmarks = false}, kSeed);
  EXPECT_EQ(without.bookmarks, 0);
  EXPECT_GT(without.lists, 50);
}

TEST(FleetDay, ADayIsEqualInEveryRun) {
  const Messages first = SimulateDay(kBusy, {}, kSeed);
  const Messages second = SimulateDay(kBusy, {}, kSeed);
  EXPECT_EQ(first.watches, second.watches);
  EXPECT_EQ(first.bookmarks, second.bookmarks);
  EXPECT_EQ(first.events, second.events);
}

}  // namespace
}  // namespace npg::bench
