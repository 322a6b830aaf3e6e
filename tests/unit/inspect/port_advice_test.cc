// SPDX-License-Identifier: Apache-2.0
#include "inspect/port_advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/listener.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "core/port_ranges.h"
#include "inspect/port_overlap.h"
#include "unit/inspect/facts.h"

namespace npg::inspect::port_advice_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr core::PortRange kLocal = {32768, 60999};

std::vector<uint16_t> EverySecond(int first, int count) {
  std::vector<uint16_t> ports;
  for (int i = 0; i < count; ++i) ports.push_back(static_cast<uint16_t>(first + 2 * i));
  return ports;
}

TEST(PortAdviceTest, NoneWithoutAnOverlap) {
  const core::PortOverlap overlap = core::JudgeOverlap({kLocal, {}, {30080}, {40001}});
  EXPECT_THAT(OverlapAdvice(overlap), IsEmpty());
  EXPECT_THAT(OverlapFix(overlap), IsEmpty());
  EXPECT_THAT(OverlapFacts(overlap), IsEmpty());
}

TEST(PortAdviceTest, OneSentenceOfFactsAndOneSetting) {
  EXPECT_EQ(
      OverlapAdvice(core::JudgeOverlap({kLocal, {{8080, 8080}}, {33589, 33591}, {40001, 40003}})),
      "2 NodePorts are among the 28232 ports that the kernel hands out "
      "(net.ipv4.ip_local_port_range 32768-60999); if the 2 TCP listeners with an assigned "
      "port were bound anew, one of them would get an allocated NodePort with a probability "
      "of 0.0567%, and the next Service gets the number of one of them with 0%; the setting "
      "that ends this costs 2 of the 28232 ports. This setting ends it: sysctl -w "
      "net.ipv4.ip_local_reserved_ports=8080,33589,33591.");
  EXPECT_THAT(OverlapAdvice(core::JudgeOverlap({kLocal, {}, {33589}, {}})),
              HasSubstr("no TCP listener has an assigned port now"));
}

// The message of an Event has 1024 bytes.
TEST(PortAdviceTest, IsShort) {
  const std::vector<core::OverlapInput> inputs = {
      {kLocal, {}, EverySecond(33001, 16), EverySecond(40001, 1000)},
      {kLocal, {}, EverySecond(33000, 5000), EverySecond(40001, 1000)},
      {{20000, 29999}, {}, EverySecond(20000, 1), {}},
  };
  for (const core::OverlapInput& input : inputs) {
    const std::string text = OverlapAdvice(core::JudgeOverlap(input));
    EXPECT_THAT(text, Not(IsEmpty()));
    EXPECT_LT(text.size(), 1024U) << text;
  }
  EXPECT_THAT(OverlapAdvice(core::JudgeOverlap(inputs[1])),
              EndsWith("ends it: nodeport-guard run --reserve-ports allocated."));
}

TEST(PortAdviceTest, MovesTheRangeWhereTooFewPortsWouldBeLeft) {
  core::PortOverlap overlap;
  overlap.local = kLocal;
  overlap.automatic = 28232;
  overlap.allocated = 25000;
  overlap.advice = core::OverlapAdvice::kMoveRange;
  overlap.ranges = {{41999, 60999}};
  overlap.cost = 9231;
  EXPECT_THAT(OverlapAdvice(overlap),
              EndsWith("ends it: sysctl -w net.ipv4.ip_local_port_range='41999 60999'."));
  EXPECT_THAT(OverlapFix(overlap), AllOf(HasSubstr("ip_local_port_range='41999 60999', and keep"),
                                         HasSubstr("--service-node-port-range")));
  overlap.ranges.clear();
  EXPECT_THAT(OverlapAdvice(overlap), EndsWith("ends it: a --service-node-port-range of the API "
                                               "server outside of 32768-60999."));
  EXPECT_THAT(OverlapFix(overlap), Not(HasSubstr("sysctl")));
}

TEST(PortAdviceTest, Percents) {
  EXPECT_EQ(PercentText(0), "0%");
  EXPECT_EQ(PercentText(0.00001), "under 0.01%");
  EXPECT_EQ(PercentText(0.00425), "0.425%");
  EXPECT_EQ(PercentText(0.204), "20.4%");
  EXPECT_EQ(PercentText(1), "100%");
}

// The ports that the line for the sysctl reserves.
core::PortRanges ReservedBy(const std::string& fix) {
  const std::string setting = "sysctl -w net.ipv4.ip_local_reserved_ports=";
  const size_t begin = fix.find(setting);
  const size_t end = fix.find(", and keep it", begin);
  if (begin == std::string::npos || end == std::string::npos) {
    ADD_FAILURE() << fix;
    return {};
  }
  const size_t first = begin + setting.size();
  const absl::StatusOr<core::PortRanges> ranges =
      core::ParsePortRanges(fix.substr(first, end - first));
  EXPECT_TRUE(ranges.ok()) << ranges.status();
  return ranges.value_or(core::PortRanges());
}

// The reserved ports alone may be too long.
TEST(PortAdviceTest, ALongLineForTheSysctlKeepsReservedPorts) {
  core::PortRanges reserved = {{8080, 8080}, {61000, 61001}};
  for (const uint16_t port : EverySecond(50000, 1000)) reserved.push_back({port, port});
  const core::PortRanges all = ReservedBy(ReserveFix(reserved, {{40000, 40000}}));
  EXPECT_LE(core::PortRangesText(all).size(), 3000U);
  for (const core::PortRange& range : reserved) {
    EXPECT_TRUE(core::Contains(all, range.first) && core::Contains(all, range.last));
  }
  EXPECT_TRUE(core::Contains(all, 40000));
  EXPECT_THAT(ReserveFix(absl::PermissionDeniedError("x"), {{40000, 40000}}),
              AllOf(HasSubstr("add 40000 to"), Not(HasSubstr("sysctl -w"))));
}

// By its record; a guess without one.
TEST(PortAdviceTest, AssignedPortsOfListeners) {
  std::vector<core::Listener> listeners = {
      MakeListener("127.0.0.1", 40001, "containerd", 812),
      MakeListener("127.0.0.1", 40003, "agent", 813),
      MakeListener("127.0.0.1", 40005, "dns", 814, core::Protocol::kUdp),
      MakeListener("127.0.0.1", 8080, "web", 815),
      MakeListener("127.0.0.1", 40007, "earlier", 816),
      MakeListener("0.0.0.0", 40009, "earlier", 817),
  };
  listeners[0].binder->asked_port = 0;
  listeners[2].binder->asked_port = 0;
  listeners[3].binder->asked_port = 0;
  listeners[4].binder.reset();
  listeners[5].binder.reset();
  EXPECT_THAT(AssignedPorts(kLocal, listeners), ElementsAre(40001, 40007));
  const core::PortOverlap overlap = JudgeOverlap({kLocal, {}}, {33589}, listeners);
  EXPECT_EQ(overlap.listeners, 2U);
  EXPECT_EQ(overlap.allocated, 1U);
}

}  // namespace
}  // namespace npg::inspect::port_advice_test
