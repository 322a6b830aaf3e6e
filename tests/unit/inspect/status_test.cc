// SPDX-License-Identifier: Apache-2.0
#include "inspect/status.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "abi/names.h"
#include "absl/status/status.h"
#include "dataplane/nft/nft_table.h"
#include "inspect/guard_facts.h"
#include "unit/inspect/facts.h"

namespace npg::inspect::status_test {
namespace {

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

// What the administrator chose comes before what is broken.
TEST(ConflictStateTest, ModeAndPolicyComeFirst) {
  GuardFacts facts = MakeFacts();
  facts.nft = dataplane::NftTableState{};
  facts.config.mode = abi::Mode::kObserve;
  EXPECT_EQ(StateOf(facts), ConflictState::kObserved);
  BoundBy(facts.listeners[0], "kube-proxy", 812);
  EXPECT_EQ(StateOf(facts), ConflictState::kIgnored);
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
