// SPDX-License-Identifier: Apache-2.0
#include "core/port_overlap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "core/port_ranges.h"

namespace npg::core::port_overlap_test {
namespace {

// `count` ports from `first`, at a distance of `step`.
std::vector<uint16_t> Ports(int first, int count, int step = 1) {
  std::vector<uint16_t> ports;
  for (int i = 0; i < count; ++i) ports.push_back(static_cast<uint16_t>(first + step * i));
  return ports;
}

constexpr PortRange kLocal = {32768, 60999};
// The odd offsets of its lower half: 32769, 32771, ..., 46883.
constexpr double kWindow = 7058;

TEST(PortOverlapTest, NoneWithoutACommonPort) {
  const PortOverlap overlap = JudgeOverlap({kLocal, {}, {30080, 31000}, {32769, 40000}});
  EXPECT_EQ(overlap.automatic, 28232U);
  EXPECT_EQ(overlap.allocated, 0U);
  EXPECT_EQ(overlap.usual, 0U);
  EXPECT_EQ(overlap.listeners, 2U);
  EXPECT_EQ(overlap.collision, 0);
  EXPECT_EQ(overlap.next_service, 0);
  EXPECT_EQ(overlap.advice, OverlapAdvice::kNone);
  EXPECT_EQ(overlap.cost, 0U);
}

TEST(PortOverlapTest, OnlyOddOffsetsOfTheLowerHalfCollide) {
  const auto collision = [](uint16_t allocated) {
    return JudgeOverlap({kLocal, {}, {allocated}, {40001}}).collision;
  };
  EXPECT_NEAR(collision(33589), 1 / kWindow, 1e-12);
  EXPECT_NEAR(collision(32769), 1 / kWindow, 1e-12);
  EXPECT_NEAR(collision(46883), 1 / kWindow, 1e-12) << "the last of the window";
  EXPECT_EQ(collision(33590), 0) << "an even offset";
  EXPECT_EQ(collision(46885), 0) << "the upper half";
  EXPECT_EQ(collision(60999), 0);
}

TEST(PortOverlapTest, TheOffsetCountsFromTheFirstPort) {
  const auto collision = [](uint16_t allocated) {
    return JudgeOverlap({{30001, 31000}, {}, {allocated}, {30002}}).collision;
  };
  EXPECT_NEAR(collision(30002), 1 / 250.0, 1e-12);
  EXPECT_EQ(collision(30003), 0);
}

TEST(PortOverlapTest, EachListenerHasItsChance) {
  const PortOverlap overlap = JudgeOverlap({kLocal, {}, Ports(32769, 100, 2), Ports(50001, 9)});
  EXPECT_EQ(overlap.allocated, 100U);
  EXPECT_NEAR(overlap.collision, 1 - std::pow(1 - 100 / kWindow, 9), 1e-12);
  EXPECT_EQ(JudgeOverlap({kLocal, {}, Ports(32769, 100, 2), {}}).collision, 0) << "no listener";
}

// Sockets on other addresses share a port, and those outside of the range were not assigned.
TEST(PortOverlapTest, AnAssignedPortCountsOnce) {
  EXPECT_EQ(JudgeOverlap({kLocal, {}, {}, {40001, 40001, 40003, 8080}}).listeners, 2U);
}

// The kernel begins at a random port and goes on to the next that is not reserved: of 2,000
// sockets, 415 got port 30101 here.
TEST(PortOverlapTest, APortBehindReservedOnesIsPickedMoreOften) {
  const auto collision = [](uint16_t allocated) {
    return JudgeOverlap({{30000, 30999}, {{30001, 30099}}, {allocated}, {30401}}).collision;
  };
  EXPECT_NEAR(collision(30101), 51 / 250.0, 1e-12);
  EXPECT_NEAR(collision(30103), 1 / 250.0, 1e-12);
  // The end of the window is followed by its beginning.
  EXPECT_NEAR(JudgeOverlap({{30000, 30999}, {{30401, 30999}}, {30001}, {30401}}).collision,
              51 / 250.0, 1e-12);
}

TEST(PortOverlapTest, WhereTheWindowIsReservedTheNextOneCounts) {
  // The lower half: all is in the upper one.
  EXPECT_NEAR(JudgeOverlap({{30000, 30999}, {{30000, 30499}}, {30501}, {30601}}).collision,
              1 / 250.0, 1e-12);
  // The odd offsets of the lower half: its even ones.
  PortRanges odd;
  for (const uint16_t port : Ports(30001, 250, 2)) odd.push_back({port, port});
  EXPECT_NEAR(JudgeOverlap({{30000, 30999}, odd, {30002}, {30004}}).collision, 1 / 250.0, 1e-12);
  EXPECT_EQ(JudgeOverlap({{30000, 30999}, odd, {30501}, {30004}}).collision, 0);
}

TEST(PortOverlapTest, TinyRanges) {
  EXPECT_EQ(JudgeOverlap({{30000, 30000}, {}, {30000}, {30000}}).collision, 1);
  EXPECT_EQ(JudgeOverlap({{30000, 30001}, {}, {30001}, {30001}}).collision, 1);
  EXPECT_EQ(JudgeOverlap({{30000, 30003}, {}, {30001}, {30001}}).collision, 1);
  const PortOverlap none = JudgeOverlap({{30000, 30003}, {{30000, 30003}}, {30001}, {30001}});
  EXPECT_EQ(none.automatic, 0U);
  EXPECT_EQ(none.advice, OverlapAdvice::kNone);
  const PortOverlap all = JudgeOverlap({{1, 65535}, {}, {65535}, {65535}});
  EXPECT_EQ(all.automatic, 65535U);
  EXPECT_EQ(all.allocated, 1U);
}

TEST(PortOverlapTest, TheNextServiceDrawsFromTheFreeUsualPorts) {
  const PortRange local = {1024, 65535};
  // One of the listeners is on an allocated port already, and one outside of the usual range.
  const PortOverlap overlap =
      JudgeOverlap({local, {}, {30000, 30001, 40000}, {30001, 30003, 30005, 40001}});
  EXPECT_EQ(overlap.usual, 2768U);
  EXPECT_NEAR(overlap.next_service, 2 / 2766.0, 1e-12);
  EXPECT_EQ(JudgeOverlap({local, {}, Ports(30000, 2768), {30003}}).next_service, 0)
      << "no NodePort is left";
}

TEST(PortOverlapTest, FewRangesAreReserved) {
  const PortOverlap overlap =
      JudgeOverlap({kLocal, {{8080, 8080}, {33590, 33590}}, {33589, 33591, 30080}, {}});
  EXPECT_EQ(overlap.advice, OverlapAdvice::kReserve);
  // The sysctl is set as a whole.
  EXPECT_EQ(overlap.ranges, (PortRanges{{8080, 8080}, {33589, 33591}}));
  EXPECT_EQ(overlap.cost, 2U);
}

TEST(PortOverlapTest, ALongListIsLeftToTheGuard) {
  EXPECT_EQ(JudgeOverlap({kLocal, {}, Ports(33000, 16, 2), {}}).advice, OverlapAdvice::kReserve);
  const PortOverlap overlap = JudgeOverlap({kLocal, {}, Ports(33000, 17, 2), {}});
  EXPECT_EQ(overlap.advice, OverlapAdvice::kReserveFlag);
  EXPECT_EQ(overlap.cost, 17U);
  EXPECT_TRUE(overlap.ranges.empty());
  // What is reserved already makes the line long, too.
  EXPECT_EQ(JudgeOverlap({kLocal, ToRanges(Ports(50000, 16, 2)), {40000}, {}}).advice,
            OverlapAdvice::kReserveFlag);
}

TEST(PortOverlapTest, TheRangeMovesWhereTooFewPortsWouldBeLeft) {
  EXPECT_EQ(JudgeOverlap({{30000, 37191}, {}, Ports(30000, 3596), {}}).advice,
            OverlapAdvice::kReserve)
      << "a half is left";
  const PortOverlap half = JudgeOverlap({{30000, 37191}, {}, Ports(30000, 3597), {}});
  EXPECT_EQ(half.advice, OverlapAdvice::kMoveRange);
  EXPECT_TRUE(half.ranges.empty()) << "3595 ports are too few";
  EXPECT_EQ(half.cost, 0U);

  EXPECT_EQ(JudgeOverlap({kLocal, {}, Ports(32768, 28232 - 4096), {}}).advice,
            OverlapAdvice::kReserve);
  const PortOverlap few = JudgeOverlap({kLocal, {}, Ports(32768, 28232 - 4095), {}});
  EXPECT_EQ(few.advice, OverlapAdvice::kMoveRange);
  // With gaps, their range takes more than they are themselves.
  const PortOverlap spread =
      JudgeOverlap({{10000, 19999}, {{19000, 19999}}, Ports(10000, 5000), {}});
  EXPECT_EQ(spread.automatic, 9000U);
  EXPECT_EQ(spread.advice, OverlapAdvice::kMoveRange);
  EXPECT_EQ(spread.ranges, (PortRanges{{15000, 19999}}));
  EXPECT_EQ(spread.cost, 5000U);
}

TEST(PortOverlapTest, TheWidestPartBesideNodePorts) {
  EXPECT_EQ(RangeBeside(kLocal, {40000, 41998}), (PortRanges{{41999, 60999}}));
  EXPECT_EQ(RangeBeside(kLocal, {55000, 60998}), (PortRanges{{32768, 54999}}));
  EXPECT_TRUE(RangeBeside(kLocal, {33000, 60998}).empty());
}

}  // namespace
}  // namespace npg::core::port_overlap_test
