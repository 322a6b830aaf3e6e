// SPDX-License-Identifier: Apache-2.0
#include "inspect/status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "abi/names.h"
#include "absl/status/status.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/nft/nft_table.h"
#include "inspect/guard_facts.h"
#include "inspect/json.h"
#include "unit/inspect/facts.h"

namespace npg::inspect::status_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Of the only conflict of a node.
ConflictState StateOf(GuardFacts facts) {
  const Status status = MakeStatus(std::move(facts));
  EXPECT_EQ(status.conflicts.size(), 1U);
  return status.conflicts.empty() ? ConflictState::kIgnored : status.conflicts[0].state;
}

GuardFacts NodeWithListenerOn(const std::string& address, bool v6only = false) {
  GuardFacts facts = MakeFacts();
  facts.listeners = {MakeListener(address, 33589, "containerd", 812)};
  facts.listeners[0].v6only = v6only;
  return facts;
}

void Detach(GuardFacts& facts, const std::string& program) {
  for (LinkFact& fact : facts.links) {
    if (fact.link.name == program) fact.link.cgroup_id = 0;
  }
}

TEST(ConflictStateTest, CiliumsSocketLoadBalancerLeavesAllUnguarded) {
  GuardFacts facts = NodeWithListenerOn("127.0.0.1");
  facts.cilium_socket_lb = true;
  EXPECT_EQ(StateOf(facts), ConflictState::kUnguarded);
  const Status status = MakeStatus(facts);
  EXPECT_THAT(status.notes, ElementsAre(HasSubstr("Cilium's socket load balancer")));
  EXPECT_THAT(status.problems, IsEmpty()) << "the guard itself works";
  facts.config.mode = abi::Mode::kObserve;
  EXPECT_EQ(StateOf(facts), ConflictState::kObserved);
}

TEST(ConflictStateTest, AListenerThatIsBoundToADeviceIsUnguarded) {
  GuardFacts facts = NodeWithListenerOn("127.0.0.1");
  facts.listeners[0].ifindex = 1;
  EXPECT_EQ(StateOf(facts), ConflictState::kUnguarded);
  EXPECT_THAT(MakeStatus(facts).notes,
              ElementsAre(HasSubstr("33589/tcp 127.0.0.1 is bound to a device")));
}

TEST(ConflictStateTest, NeedsTheProgramsOfTheFamiliesThatReachTheListener) {
  const struct {
    std::string address;
    bool v6only;
    bool needs_connect4, needs_connect6;
  } cases[] = {
      {"127.0.0.1", false, true, false}, {"0.0.0.0", false, true, false},
      {"::1", false, false, true},       {"::", false, true, true},
      {"::", true, false, true},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.address + (each.v6only ? " v6only" : ""));
    const GuardFacts whole = NodeWithListenerOn(each.address, each.v6only);
    EXPECT_EQ(StateOf(whole), ConflictState::kExempted);
    for (const auto& [program, needed] :
         {std::pair{"npg_connect4", each.needs_connect4},
          std::pair{"npg_connect6", each.needs_connect6}, std::pair{"npg_bind4", false}}) {
      SCOPED_TRACE(program);
      GuardFacts facts = whole;
      Detach(facts, program);
      EXPECT_EQ(StateOf(facts), needed ? ConflictState::kUnguarded : ConflictState::kExempted);
    }
  }
}

TEST(ConflictStateTest, NeedsTheTable) {
  GuardFacts facts = MakeFacts();
  facts.nft = dataplane::NftTableState{};
  EXPECT_EQ(StateOf(facts), ConflictState::kUnguarded);
  facts.nft = absl::PermissionDeniedError("read the nft table: Operation not permitted");
  EXPECT_EQ(StateOf(facts), ConflictState::kUnguarded);
}

TEST(ConflictStateTest, IsUnguardedWhereTheGuardStandsAside) {
  const struct {
    std::string address;
    bool v6only;
    bool tcp4, tcp6;  // whether standing aside for it matters
  } cases[] = {
      {"127.0.0.1", false, true, false}, {"0.0.0.0", false, true, false},
      {"::1", false, false, true},       {"::", false, true, true},
      {"::", true, false, true},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.address + (each.v6only ? " v6only" : ""));
    for (const auto& row : abi::kTraffic) {
      GuardFacts facts = NodeWithListenerOn(each.address, each.v6only);
      facts.config.standing_aside = abi::Bit(row.value);
      const bool matters = (row.value == abi::Traffic::kTcp4 && each.tcp4) ||
                           (row.value == abi::Traffic::kTcp6 && each.tcp6);
      EXPECT_EQ(StateOf(facts), matters ? ConflictState::kUnguarded : ConflictState::kExempted)
          << row.name;
    }
  }
}

TEST(StatusTest, NamesTheRulesThatTheGuardStandsAsideFor) {
  GuardFacts facts = MakeFacts();
  facts.config.standing_aside = abi::Bit(abi::Traffic::kTcp4);
  facts.in_the_way = {{node::UntrackedObstacle::Kind::kDrops, "nft table inet fw, chain in",
                       "drops", "iif lo accept"}};
  const Status status = MakeStatus(std::move(facts));
  ASSERT_EQ(status.problems.size(), 1U);
  EXPECT_EQ(
      status.problems[0],
      "the guard stands aside for TCP over IPv4: rules of this node would track or drop exempted "
      "packets: nft table inet fw, chain in drops (add: iif lo accept)");
}

TEST(StatusTest, BlamesNoRulesWhereNoneWasFound) {
  GuardFacts facts = MakeFacts();
  facts.config.standing_aside = abi::AllTraffic();
  const Status status = MakeStatus(std::move(facts));
  ASSERT_EQ(status.problems.size(), 1U);
  EXPECT_EQ(status.problems[0],
            "the guard stands aside for all connects: no self-probe has shown that exempted "
            "packets arrive untracked");
  facts = MakeFacts();
  facts.config.standing_aside = abi::AllTraffic();
  facts.counters[abi::Counter::kProbed] = 5;
  const Status probed = MakeStatus(std::move(facts));
  ASSERT_EQ(probed.problems.size(), 1U);
  EXPECT_EQ(probed.problems[0],
            "the guard stands aside for all connects: found by the self-probe; no rule could be "
            "named (iptables-legacy is not read)");
}

// What the administrator chose comes before what is broken.
TEST(ConflictStateTest, ModeAndPolicyComeFirst) {
  GuardFacts facts = MakeFacts();
  facts.nft = dataplane::NftTableState{};
  facts.config.mode = abi::Mode::kObserve;
  EXPECT_EQ(StateOf(facts), ConflictState::kObserved);
  BoundBy(facts.listeners[0], "kube-proxy", 812);
  EXPECT_EQ(StateOf(facts), ConflictState::kIgnored);
}

TEST(StatusTest, ANotePointsAtALongAcceptQueue) {
  GuardFacts facts = MakeFacts();
  core::Listener& listener = facts.listeners[0];
  listener.accept_limit = 4096;
  listener.accept_queue = 7;
  EXPECT_THAT(MakeStatus(facts).notes, IsEmpty());
  listener.accept_queue = 8;
  EXPECT_THAT(MakeStatus(facts).notes,
              ElementsAre("33589/tcp: containerd[812] on 127.0.0.1: 8 connections wait to be "
                          "accepted (backlog 4096); if its process never accepts them, connects "
                          "to it hang: run with --ignore-process +containerd"));
  // Full, which is one more than the limit.
  listener.accept_queue = 2;
  listener.accept_limit = 2;
  EXPECT_THAT(MakeStatus(facts).notes, IsEmpty());
  listener.accept_limit = 1;
  EXPECT_THAT(MakeStatus(facts).notes,
              ElementsAre(HasSubstr("2 connections wait to be accepted (backlog 1)")));
  // With a backlog of 0, one connection waits for any server at times.
  listener.accept_queue = 1;
  listener.accept_limit = 0;
  EXPECT_THAT(MakeStatus(facts).notes, IsEmpty());
}

// Connects to a listener that is not exempted yet go to the Service.
TEST(StatusTest, TheNoteOnALongAcceptQueueKnowsWhereConnectsGo) {
  GuardFacts facts = MakeFacts();
  facts.listeners[0].accept_limit = 4096;
  facts.listeners[0].accept_queue = 8;
  facts.config.mode = abi::Mode::kObserve;
  EXPECT_EQ(StateOf(facts), ConflictState::kObserved);
  EXPECT_THAT(MakeStatus(facts).notes,
              ElementsAre(HasSubstr("connects to it will hang with --mode enforce: run with")));
  facts.config.mode = abi::Mode::kEnforce;
  facts.nft = dataplane::NftTableState{};
  EXPECT_EQ(StateOf(facts), ConflictState::kUnguarded);
  EXPECT_THAT(MakeStatus(facts).notes,
              ElementsAre(HasSubstr("connects to it will hang once the guard exempts them: run")));
}

// Connects to a listener that is not guarded do not end there.
TEST(StatusTest, NoNoteOnTheQueueOfAnIgnoredOwner) {
  GuardFacts facts = MakeFacts();
  facts.listeners[0].accept_queue = 100;
  BoundBy(facts.listeners[0], "kube-proxy", 812);
  EXPECT_THAT(MakeStatus(facts).notes, IsEmpty());
}

// Neither do those to a listener that the programs do not see, or that Cilium takes.
TEST(StatusTest, NoNoteOnTheQueueOfAListenerThatNoGuardServes) {
  GuardFacts facts = MakeFacts();
  facts.listeners[0].accept_queue = 100;
  EXPECT_THAT(MakeStatus(facts).notes, ElementsAre(HasSubstr("wait to be accepted")));
  facts.cilium_socket_lb = true;
  EXPECT_THAT(MakeStatus(facts).notes, ElementsAre(HasSubstr("Cilium's socket load balancer")));
  facts.cilium_socket_lb = false;
  facts.listeners[0].ifindex = 1;
  EXPECT_THAT(MakeStatus(facts).notes, ElementsAre(HasSubstr("is bound to a device")));
}

// Each socket of SO_REUSEPORT has a queue.
TEST(StatusTest, SocketsThatShareAnAddressHaveOneNoteOnTheLongestQueue) {
  GuardFacts facts = MakeFacts();
  const core::Listener listener = facts.listeners[0];
  facts.listeners.assign(3, listener);
  facts.listeners[0].accept_queue = 100;
  facts.listeners[1].accept_queue = 300;
  EXPECT_THAT(MakeStatus(facts).notes, ElementsAre(HasSubstr("300 connections wait")));
}

// --ignore-process does not select a socket that asked for any port.
TEST(StatusTest, TheFlagIsOneThatSelectsTheListener) {
  GuardFacts facts = MakeFacts();
  facts.listeners[0].accept_queue = 100;
  facts.listeners[0].binder->asked_port = 0;
  EXPECT_THAT(MakeStatus(facts).notes, ElementsAre(AllOf(HasSubstr("run with --only-process"),
                                                         Not(HasSubstr("--ignore-process")))));
}

TEST(StatusTest, TheJsonOfAConflictHasTheQueueOfTcp) {
  GuardFacts facts = MakeFacts();
  facts.listeners[0].accept_queue = 3;
  facts.listeners[0].accept_limit = 128;
  AddNodePort(facts, 33589, "kube-system/dns", abi::Bit(abi::Source::kNetfilter),
              core::Protocol::kUdp);
  facts.listeners.push_back(MakeListener("127.0.0.1", 33589, "coredns", 5, core::Protocol::kUdp));
  const Json json = StatusJson(MakeStatus(facts))["conflicts"];
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json[0]["accept_queue"], (Json{{"waiting", 3}, {"limit", 128}}));
  EXPECT_EQ(json[1]["protocol"], "udp");
  EXPECT_EQ(json[1]["accept_queue"], nullptr);
}

// The server keeps a status for as long as it shows it.
TEST(StatusTest, KeepsNoEntriesAndNoMemoryOfThem) {
  GuardFacts facts = MakeFacts();
  facts.nodeports.reserve(10000);
  const Status status = MakeStatus(std::move(facts));
  EXPECT_EQ(status.nodeports.total, 1U);
  EXPECT_EQ(status.facts.nodeports.capacity(), 0U);
  EXPECT_EQ(status.facts.stats.capacity(), 0U);
  EXPECT_EQ(status.facts.listeners.capacity(), 0U);
}

}  // namespace
}  // namespace npg::inspect::status_test
