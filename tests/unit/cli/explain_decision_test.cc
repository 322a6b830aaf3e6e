// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "cli/explain_report.h"
#include "core/decision.h"
#include "core/decision_rows.h"
#include "core/listener.h"
#include "core/port.h"
#include "guard_abi.h"
#include "guard_decide.h"
#include "inspect/guard_facts.h"
#include "unit/core/decide_env.h"
#include "unit/inspect/facts.h"

// explain has the verdict of npg_decide() and shows its questions. The test compares both on
// random nodes.
namespace npg::cli::explain_decision_test {
namespace {

constexpr uint16_t kPort = 33589;

struct RandomNode {
  inspect::GuardFacts facts;
  core::PortKey key = {kPort, core::Protocol::kTcp};
  npg_destination destination = NPG_DST_LOOPBACK4;
  npg_env env;  // the same facts as answers to npg_decide()
};

RandomNode MakeRandomNode(std::mt19937& random) {
  // Mostly true, so that the later rows are reached.
  const auto yes = [&] { return std::uniform_int_distribution<int>(0, 7)(random) != 0; };
  RandomNode node;
  node.facts = inspect::MakeFacts();
  if (!yes()) node.key.protocol = core::Protocol::kUdp;

  node.env.nodeport = yes();
  node.facts.nodeports.clear();
  inspect::AddNodePort(node.facts, kPort - 1, "default/other");
  if (node.env.nodeport) {
    inspect::AddNodePort(node.facts, kPort, "default/web", abi::Bit(abi::Source::kFile),
                         node.key.protocol);
  }

  node.env.guards_local = std::uniform_int_distribution<int>(0, 3)(random) != 0;
  node.facts.config.scope = node.env.guards_local ? abi::Scope::kLocal : abi::Scope::kLoopback;
  node.facts.own = {inspect::Address("10.0.0.5"), inspect::Address("2001:db8::5")};

  node.env.guarded_netns = yes();
  node.facts.same_netns = node.env.guarded_netns;
  if (node.env.guarded_netns && !yes()) node.facts.same_netns = std::nullopt;

  // Without a listener, or from another namespace, explain assumes a connect to 127.0.0.1.
  const std::vector<std::pair<std::string, npg_destination>> addresses = {
      {"127.0.0.1", NPG_DST_LOOPBACK4}, {"0.0.0.0", NPG_DST_LOOPBACK4},
      {"127.0.0.5", NPG_DST_LOOPBACK4}, {"::1", NPG_DST_LOOPBACK6},
      {"10.0.0.5", NPG_DST_ELSEWHERE4}, {"2001:db8::5", NPG_DST_ELSEWHERE6}};
  node.env.listener = yes() && node.env.guarded_netns;
  node.facts.listeners.clear();
  if (node.env.listener) {
    const auto& [address, destination] =
        addresses[std::uniform_int_distribution<size_t>(0, addresses.size() - 1)(random)];
    node.destination = destination;
    core::Listener listener =
        inspect::MakeListener(address, kPort, "containerd", 812, node.key.protocol);
    node.env.trusted = yes();
    listener.binder->uid = node.env.trusted ? 0 : 65534;
    // Named and asked for the port; or not named; or named, with any port.
    node.env.not_ignored = yes();
    if (!node.env.not_ignored) {
      node.facts.policy.push_back(inspect::MakePolicy("containerd", abi::OwnerVerdict::kHolder));
    } else if (node.key.protocol == core::Protocol::kTcp && yes()) {
      node.facts.policy.push_back(inspect::MakePolicy("containerd", abi::OwnerVerdict::kHolder));
      listener.binder->asked_port = 0;
    }
    node.facts.listeners.push_back(listener);
  }

  node.env.enforce = yes();
  node.facts.config.mode = node.env.enforce ? abi::Mode::kEnforce : abi::Mode::kObserve;
  node.env.not_aside = yes();
  if (!node.env.not_aside) {
    const bool v4 = node.destination == NPG_DST_LOOPBACK4 || node.destination == NPG_DST_ELSEWHERE4;
    const bool tcp = node.key.protocol == core::Protocol::kTcp;
    node.facts.config.standing_aside = abi::Bit(abi::TrafficOf(tcp, v4));
  }
  return node;
}

TEST(ExplainDecisionTest, EqualsNpgDecideForTheSameFacts) {
  std::mt19937 random(1);
  std::set<npg_verdict> seen;
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE(absl::StrCat("node ", i));
    RandomNode node = MakeRandomNode(random);
    npg_port_key key{};
    npg_listener_key listener{};
    const npg_verdict want = npg_decide(&node.env, static_cast<uint32_t>(node.key.protocol),
                                        node.destination, kPort, &key, &listener);
    seen.insert(want);

    const std::vector<Walk> walks = WalkDecision(node.facts, node.key);
    ASSERT_EQ(walks.size(), 1U);
    EXPECT_EQ(static_cast<npg_verdict>(walks[0].verdict), want);

    // The questions with their answers, then each row that was not reached, once.
    std::vector<std::pair<int, std::optional<bool>>> rows;
    std::set<int> asked;
    for (const core::Answer& answer : core::AnswersOf(node.env, node.destination, want)) {
      // Both questions of row 6 are one line.
      if (answer.question == core::Question::kHolder) rows.pop_back();
      rows.emplace_back(core::RowOf(answer.question).number, answer.yes);
      asked.insert(rows.back().first);
    }
    for (const core::DecisionRow& row : core::kDecisionRows) {
      if (asked.count(row.number) == 0) rows.emplace_back(row.number, std::nullopt);
    }
    std::vector<std::pair<int, std::optional<bool>>> shown;
    shown.reserve(walks[0].rows.size());
    for (const ExplainRow& row : walks[0].rows) shown.emplace_back(row.number, row.yes);
    EXPECT_EQ(shown, rows);
    if (HasFailure()) return;
  }
  // All verdicts that explain can give: it explains only TCP and UDP, the listeners are on
  // own addresses, and it assumes that marking succeeds.
  EXPECT_EQ(seen, (std::set<npg_verdict>{NPG_PASS_OUT_OF_SCOPE, NPG_PASS_NOT_NODEPORT,
                                         NPG_PASS_FOREIGN_NETNS, NPG_PASS_NO_LISTENER,
                                         NPG_PASS_UNTRUSTED_OWNER, NPG_PASS_IGNORED_OWNER,
                                         NPG_PASS_OBSERVED, NPG_PASS_STANDING_ASIDE, NPG_EXEMPT}));
}

}  // namespace
}  // namespace npg::cli::explain_decision_test
