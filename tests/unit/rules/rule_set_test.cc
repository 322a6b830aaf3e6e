// SPDX-License-Identifier: Apache-2.0
#include "rules/rule_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/listener.h"
#include "core/port.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/rule.h"
#include "rules/rule_store.h"
#include "testing/status_asserts.h"
#include "unit/rules/rule_builders.h"

namespace npg::rules::rule_set_test {
namespace {

using ::testing::ElementsAre;

namespace t = npg::testing;
using t::Node;

TEST(RuleSet, NamesTablesAndChains) {
  EXPECT_EQ(ToString(t::kNat), "nft table ip nat");
  EXPECT_EQ(ToString(t::kInet), "nft table inet mine");
  EXPECT_EQ(ToString(ChainName{{Engine::kLegacy, NFPROTO_IPV6, "nat"}, "X"}),
            "ip6tables-legacy table nat, chain X");
}

TEST(RuleSet, ConnectsToLoopbackAndItsOwnAddresses) {
  const core::AddressSet own = {t::kNode4, t::kLocal4};
  EXPECT_THAT(ConnectsToLoopbackAnd(own), ElementsAre(Connect{core::Protocol::kTcp, t::kLocal6},
                                                      Connect{core::Protocol::kUdp, t::kLocal6},
                                                      Connect{core::Protocol::kTcp, t::kLocal4},
                                                      Connect{core::Protocol::kUdp, t::kLocal4},
                                                      Connect{core::Protocol::kTcp, t::kNode4},
                                                      Connect{core::Protocol::kUdp, t::kNode4}));
}

TEST(RuleSet, SortsBaseChains) {
  Node node;
  node.FilterInput();
  node.FilterOutput();
  node.Base(t::kInet, "late nat", NF_INET_LOCAL_OUT, 500, true);
  node.NatOutput();
  node.RawOutput();
  node.Base(t::kInet, "forward", NF_INET_FORWARD, 0);
  std::vector<std::string> order;
  for (const BaseChain& base : node.rules.base_chains()) {
    order.push_back(absl::StrCat(base.chain.table.name, " ", base.chain.name));
  }
  EXPECT_THAT(order, ElementsAre("raw OUTPUT", "nat OUTPUT", "mine late nat", "filter OUTPUT",
                                 "filter INPUT"));
}

TEST(RuleSet, PutsTheLastAddedOfEqualPrioritiesFirst) {
  Node node;
  node.Base(t::kInet, "first", NF_INET_LOCAL_OUT, 7);
  node.Base(t::kInet, "last", NF_INET_LOCAL_OUT, 7);
  ASSERT_EQ(node.rules.base_chains().size(), 2U);
  EXPECT_EQ(node.rules.base_chains().front().chain.name, "last");
}

TEST(RuleSet, QueriesAddNothing) {
  Node node;
  const ChainName chain{t::kNat, "A"};
  node.rules.Remove(chain, 1);
  node.rules.ForgetSet(t::kNat, {"S", false});
  EXPECT_FALSE(node.rules.HasSet(t::kNat, {"S", false}));
  EXPECT_FALSE(node.rules.store().FindChain(chain));
  EXPECT_FALSE(node.rules.store().FindSet(t::kNat, {"S", false}));
}

TEST(RuleSet, InsertsAndRemovesRules) {
  Node node;
  const ChainName chain{t::kNat, "A"};
  const auto rule = [](uint64_t handle, std::vector<Step> steps) {
    return Rule{handle, "", std::move(steps)};
  };
  const auto content = [&] {
    const RuleSet::Store& store = node.rules.store();
    const RuleSet::ChainId id = *store.FindChain(chain);
    std::vector<std::string> rules;
    for (size_t i = 0; i < store.RulesOf(id).size(); ++i) {
      const StoredRule& stored = store.RulesOf(id)[i];
      rules.push_back(absl::StrCat(stored.handle, ":", store.EndOf(id, i) - stored.steps));
    }
    return rules;
  };
  node.rules.BeginChain(chain);
  EXPECT_TRUE(node.rules.Insert(chain, 0, rule(5, {t::Port(80), t::To(t::kPod, 80)})));
  EXPECT_TRUE(node.rules.Insert(chain, 0, rule(6, {t::To(t::kPod, 81)})));
  EXPECT_TRUE(node.rules.Insert(chain, 6, rule(7, {})));
  EXPECT_TRUE(node.rules.Insert(chain, 5, rule(8, {t::Port(81), t::To(t::kPod, 82)})));
  EXPECT_THAT(content(), ElementsAre("6:1", "7:0", "5:2", "8:2"));
  EXPECT_FALSE(node.rules.Insert(chain, 9, rule(10, {})));
  EXPECT_TRUE(node.rules.HasRule(chain, 7));
  EXPECT_EQ(node.rules.rules(), 4U);
  for (const uint64_t handle : {uint64_t{6}, uint64_t{9}}) node.rules.Remove(chain, handle);
  EXPECT_THAT(content(), ElementsAre("7:0", "5:2", "8:2"));
  node.rules.Remove(chain, 8);
  EXPECT_THAT(content(), ElementsAre("7:0", "5:2"));
  EXPECT_FALSE(node.rules.HasRule(chain, 8));
}

TEST(RuleSet, KnowsAndForgetsChains) {
  Node node;
  const ChainName chain{t::kNat, "A"};
  EXPECT_FALSE(node.rules.HasChain(chain));
  node.rules.BeginChain(chain);
  node.rules.Append(chain, {1, "", {t::Drop()}});
  node.rules.Append({t::kNat, "B"}, {2, "", {t::Drop()}});
  EXPECT_TRUE(node.rules.HasChain(chain));
  EXPECT_EQ(node.rules.rules(), 2U);
  node.rules.BeginChain(chain);
  EXPECT_EQ(node.rules.rules(), 1U);
  EXPECT_TRUE(node.rules.HasChain(chain));
  node.rules.ForgetChain(chain);
  EXPECT_FALSE(node.rules.HasChain(chain));
  node.rules.ForgetTable(t::kNat);
  EXPECT_EQ(node.rules.rules(), 0U);
}

TEST(RuleSet, KnowsAndForgetsSets) {
  Node node;
  const SetName ip_set{"S", true};
  node.rules.PutSet(t::kNat, {"S", false}, {});
  node.rules.PutSet(t::kNat, ip_set, {});
  EXPECT_TRUE(node.rules.HasSet(t::kNat, {"S", false}));
  EXPECT_FALSE(node.rules.HasSet(t::kFilter, {"S", false}));
  EXPECT_TRUE(node.rules.HasSet(t::kFilter, ip_set));
  node.rules.ForgetTable(t::kNat);
  EXPECT_FALSE(node.rules.HasSet(t::kNat, {"S", false}));
  EXPECT_TRUE(node.rules.HasSet(t::kNat, ip_set));
  node.rules.ForgetIpSets();
  EXPECT_FALSE(node.rules.HasSet(t::kNat, ip_set));
}

// What is left after compacting is what it was, in other numbers.
TEST(RuleSet, CompactsWithoutAChange) {
  Node node;
  node.NatOutput();
  for (int i = 0; i < 3000; ++i) {
    const ChainName chain{t::kNat, absl::StrCat("OLD-", i)};
    node.rules.BeginChain(chain);
    node.rules.Append(chain, {1, absl::StrCat("old ", i), {t::Port(i + 1), t::To(i, 1)}});
    node.rules.ForgetChain(chain);
  }
  auto list = t::Port(10);
  list.intervals.push_back({20, 20});
  Nat range = t::To(t::kPod, 1);
  range.address->last = t::kPod + 1;
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), list, range}, "default/a");
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::OrMark(1), t::MarkHas(1), t::Port(30), t::Jump("B")},
           "default/b");
  node.Add(t::kNat, "B", {t::To(t::kPod, 5)});
  node.Add(t::kNat, "OUTPUT", {VerdictMap{{t::Of(Field::kDestinationPort, 2)}, {"map", false}}});
  node.Add(t::kNat, "OUTPUT",
           {t::Udp(), t::Port(60), Verdict{VerdictKind::kDivert, "", "target X"}});
  Set map;
  map.elements.push_back({t::Bytes(40, 2), t::Bytes(41, 2), t::Jump("B"), "", "default/c"});
  map.elements.push_back(
      {t::Bytes(50, 2), t::Bytes(50, 2), {VerdictKind::kDivert, "", "queue"}, "", ""});
  node.reader.sets[{"map", false}] = map;
  const auto before = Evaluate(node.rules, node.reader, node.options);
  NPG_ASSERT_OK(before);
  EXPECT_EQ(before->taken.size(), 7U);
  EXPECT_EQ(before->open.size(), 3U);
  node.rules.Compact();
  node.reader.chains.clear();
  node.reader.sets.clear();
  node.reader.chains_read.clear();
  const auto after = Evaluate(node.rules, node.reader, node.options);
  NPG_ASSERT_OK(after);
  EXPECT_EQ(*before, *after);
  EXPECT_THAT(node.reader.chains_read, ElementsAre());
  EXPECT_EQ(node.rules.rules(), 5U);
}

}  // namespace
}  // namespace npg::rules::rule_set_test
