// SPDX-License-Identifier: Apache-2.0
#include "inspect/protection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "inspect/guard_facts.h"
#include "inspect/json.h"
#include "inspect/status.h"
#include "unit/inspect/facts.h"

namespace npg::inspect::protection_test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr core::PortKey kKey{33589, core::Protocol::kTcp};

// Of python3[812], uid 1000, so long ago.
void AddBinds(GuardFacts& facts, uint16_t port, uint64_t warned, uint64_t refused,
              absl::Duration ago) {
  abi::BindStats stats;
  stats.warned = warned;
  stats.refused = refused;
  stats.last_boot_ns = kNowBoot - static_cast<uint64_t>(absl::ToInt64Nanoseconds(ago));
  stats.binder = core::Binder{812, "python3", /*uid=*/1000, /*cgroup_id=*/0, port};
  facts.bind_stats.emplace_back(core::PortKey{port, core::Protocol::kTcp}, stats);
}

GuardFacts Denying() {
  GuardFacts facts = MakeFacts();
  facts.listeners.clear();
  facts.protection.bind = abi::BindProtection::kDeny;
  facts.protection.refusal_errno = EADDRINUSE;
  facts.refusable = {{kKey, abi::kFamilyV4 | abi::kFamilyV6}};
  return facts;
}

TEST(ProtectionTest, IsSilentWhereItIsOff) {
  const GuardFacts facts = MakeFacts();
  EXPECT_EQ(ReserveText(facts), "");
  EXPECT_EQ(BindText(facts, 0), "");
  EXPECT_EQ(OverlapText(facts), "");
  EXPECT_EQ(BindFateText(facts, kKey), "");
  const Status status = MakeStatus(facts);
  EXPECT_THAT(status.problems, IsEmpty());
  EXPECT_THAT(status.notes, IsEmpty());
}

TEST(ProtectionTest, AFailedReservationIsAProblem) {
  GuardFacts facts = MakeFacts();
  facts.protection.reserve = abi::ReservePorts::kAllocated;
  facts.protection.reserve_state = abi::ReserveState::kFailed;
  facts.protection.since = absl::FromUnixSeconds(kNow - 60);
  facts.protection.error = "open ip_local_reserved_ports: Read-only file system";
  const Status status = MakeStatus(facts);
  EXPECT_THAT(status.problems, ElementsAre(AllOf(HasSubstr("Read-only file system"),
                                                 HasSubstr("since 2026-11-02T11:59:00Z"),
                                                 HasSubstr("deploy/components/reserve-ports"))));
  EXPECT_FALSE(status.healthy());
  // doctor has a finding of its own for it.
  EXPECT_THAT(Problems(facts), IsEmpty());
  EXPECT_THAT(ReserveText(facts), HasSubstr("cannot be changed"));

  facts.protection.reserve_state = abi::ReserveState::kOk;
  facts.protection.reserved_ports = 12;
  EXPECT_THAT(MakeStatus(facts).problems, IsEmpty());
  EXPECT_THAT(ReserveText(facts), StartsWith("allocated: 12 ports reserved"));
}

TEST(ProtectionTest, TooFewPortsAreANote) {
  GuardFacts facts = MakeFacts();
  facts.protection.reserve = abi::ReservePorts::kAllocated;
  facts.protection.reserve_state = abi::ReserveState::kTooFew;
  const Status status = MakeStatus(facts);
  EXPECT_THAT(status.problems, IsEmpty());
  EXPECT_THAT(status.notes, ElementsAre(AllOf(StartsWith("--reserve-ports allocated: none"),
                                              HasSubstr("nodeport-guard doctor"))));
}

TEST(ProtectionTest, NamesTheBindsOfTheLastDay) {
  GuardFacts facts = Denying();
  facts.now_boot_ns = kNowBoot;
  AddBinds(facts, 33589, 0, 3, absl::Minutes(2));
  AddBinds(facts, 33700, 1, 0, absl::Minutes(1));
  EXPECT_THAT(MakeStatus(facts).notes,
              ElementsAre("33700/tcp: binds were reported 1 time, last python3[812] uid 1000, 1m "
                          "ago",
                          "33589/tcp default/web: binds were refused 3 times, last python3[812] "
                          "uid 1000, 2m ago"));
  facts.now += absl::Hours(24);
  facts.now_boot_ns += static_cast<uint64_t>(absl::ToInt64Nanoseconds(absl::Hours(24)));
  const Status later = MakeStatus(facts);
  EXPECT_THAT(later.notes, IsEmpty());
  EXPECT_THAT(later.bound, SizeIs(2)) << "the document has them";
}

TEST(ProtectionTest, ManyPortsAreCut) {
  GuardFacts facts = Denying();
  for (uint16_t port = 30000; port < 30015; ++port) AddBinds(facts, port, 0, 1, absl::Minutes(1));
  const Status status = MakeStatus(facts);
  EXPECT_THAT(status.notes, SizeIs(11));
  EXPECT_THAT(status.notes, Contains(HasSubstr("binds of 5 more NodePorts")));
  EXPECT_THAT(StatusJson(status)["protection"]["bind"]["ports"], SizeIs(15));
}

// What processes choose must not reach a terminal as it is.
TEST(ProtectionTest, NamesOfProcessesArePrintable) {
  GuardFacts facts = Denying();
  AddBinds(facts, 33589, 0, 1, absl::Minutes(1));
  facts.bind_stats[0].second.binder.comm = "a\x1b[31m";
  EXPECT_THAT(MakeStatus(facts).notes, ElementsAre(Not(HasSubstr("\x1b"))));
}

TEST(ProtectionTest, TheFateOfABind) {
  GuardFacts facts = Denying();
  EXPECT_EQ(BindFateText(facts, kKey), "a bind of it fails with EADDRINUSE");
  facts.first_holders = {{kKey, 1000}, {{33589, core::Protocol::kUdp}, 7}};
  EXPECT_EQ(BindFateText(facts, kKey),
            "a bind of it fails with EADDRINUSE, except for uid 1000, which had a socket there "
            "before it became a NodePort");
  facts.first_holders.clear();
  facts.refusable[0].second = abi::kFamilyV6;
  EXPECT_EQ(BindFateText(facts, kKey), "a bind of it fails with EADDRINUSE, for IPv6 only");
  facts.protection.bind = abi::BindProtection::kWarn;
  EXPECT_THAT(BindFateText(facts, kKey), StartsWith("a bind of it is reported"));
  EXPECT_EQ(BindFateText(facts, {40000, core::Protocol::kTcp}), "") << "no NodePort";
}

TEST(ProtectionTest, WhyABindIsLetPass) {
  GuardFacts facts = Denying();
  facts.refusable.clear();
  EXPECT_THAT(BindFateText(facts, kKey),
              AllOf(HasSubstr("not refused"), HasSubstr("only rules of this node name it")));
  facts.nodeports[0].second.sources = abi::Bit(abi::Source::kKubernetes);
  EXPECT_THAT(BindFateText(facts, kKey), HasSubstr("a pod with hostNetwork of its own Service"));
}

TEST(ProtectionTest, TheDocument) {
  GuardFacts facts = Denying();
  facts.protection.reserve = abi::ReservePorts::kAllocated;
  facts.protection.reserve_state = abi::ReserveState::kOk;
  facts.protection.reserved_ports = 1;
  facts.counters[abi::Counter::kBindRefused] = 3;
  facts.overlap = core::JudgeOverlap({{32768, 60999}, {}, {33589}, {40001}});
  AddBinds(facts, 33589, 0, 3, absl::Minutes(2));
  const Json json = StatusJson(MakeStatus(facts));
  EXPECT_EQ(json["protection"]["reserve_ports"],
            Json::parse(R"({"mode": "allocated", "state": "ok", "since": null, "ports": 1,
                            "error": null})"));
  EXPECT_EQ(json["protection"]["bind"], Json::parse(R"({
      "mode": "deny", "errno": "EADDRINUSE", "refusable": 1, "warned": 0, "refused": 3,
      "spared": 0, "ports": [{"port": 33589, "protocol": "tcp", "service": "default/web",
          "warned": 0, "refused": 3, "last": "2026-11-02T11:58:00Z",
          "binder": {"pid": 812, "comm": "python3", "uid": 1000}}]})"));
  const Json& ranges = json["port_ranges"];
  EXPECT_EQ(ranges["first"], 32768);
  EXPECT_EQ(ranges["last"], 60999);
  EXPECT_EQ(ranges["automatic"], 28232);
  EXPECT_EQ(ranges["allocated"], 1);
  EXPECT_EQ(ranges["listeners"], 1);
  EXPECT_GT(ranges["collision_probability"], 0.0001);
  EXPECT_EQ(ranges["advice"], "reserve");
  facts.overlap.reset();
  EXPECT_EQ(StatusJson(MakeStatus(facts))["port_ranges"], nullptr);
}

}  // namespace
}  // namespace npg::inspect::protection_test
