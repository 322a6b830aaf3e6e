// SPDX-License-Identifier: Apache-2.0
#include "integration/rules/random_rules.h"

#include <gtest/gtest.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "core/listener.h"
#include "core/port.h"
#include "integration/rules/random_connects.h"
#include "integration/rules/random_nft.h"
#include "integration/rules/random_verdict.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/node_rules.h"
#include "rules/rule_changes.h"
#include "testing/command.h"
#include "testing/status_asserts.h"

// The evaluator against the kernel: random rules are installed, connects are made, and what became
// of them is compared with what the evaluator makes of the rules. NPG_RULES_SEEDS and
// NPG_RULES_FIRST_SEED in the environment set how many rule sets, and which.

namespace npg::rules::random_rules_test {
namespace {

using random_rules::AddressesOf;
using random_rules::Claim;
using random_rules::ConnectLab;
using random_rules::ConnectOf;
using random_rules::Dice;
using random_rules::Fates;
using random_rules::RandomRules;
using random_rules::Spice;
using random_rules::Syntax;
using random_rules::Tally;
using random_rules::Target;

// Of random rules: connects at first, and then of those that look wrong by chance.
constexpr int kChanceAttempts = 6;
constexpr int kMoreChanceAttempts = 40;
constexpr size_t kDisagreementsShown = 4;
constexpr int kBadRuleSetsShown = 3;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  uint64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}
uint64_t Seeds() { return FromEnvironment("NPG_RULES_SEEDS", 12); }
uint64_t FirstSeed() { return FromEnvironment("NPG_RULES_FIRST_SEED", 1); }

NodeRules::Options ReadOptions() {
  NodeRules::Options options;
  options.own_table = random_rules::kProbeTable;
  options.command_folders = {"/usr/sbin", "/sbin"};
  return options;
}

core::AddressSet NodeAddresses() {
  return {random_rules::AddressOf(AddressesOf(false).node),
          random_rules::AddressOf(AddressesOf(true).node)};
}

EvaluateOptions Evaluating() {
  EvaluateOptions options;
  options.node_addresses = NodeAddresses();
  return options;
}

// To each of the node's addresses and ports, grouped by what an evaluation is for.
std::vector<std::vector<Target>> AllTargets() {
  std::vector<std::vector<Target>> groups;
  for (const bool ipv6 : {false, true}) {
    for (const char* address : {AddressesOf(ipv6).loopback, AddressesOf(ipv6).node}) {
      for (const core::Protocol protocol : {core::Protocol::kTcp, core::Protocol::kUdp}) {
        std::vector<Target>& group = groups.emplace_back();
        for (const uint16_t port : random_rules::Pool()) {
          group.push_back({.address = address, .protocol = protocol, .port = port});
        }
      }
    }
  }
  return groups;
}

// One rule set in its own network namespace.
class Trial {
 public:
  Trial(const RandomRules& rules, Tally& tally) : rules_(rules), tally_(tally) {}

  // The disagreements; an error if something could not be done.
  absl::StatusOr<std::vector<std::string>> Run() {
    auto lab = ConnectLab::Enter();
    if (!lab.ok()) return lab.status();
    absl::Status status = random_rules::Install(rules_);
    if (!status.ok()) return status;
    const std::vector<std::vector<Target>> groups = AllTargets();
    std::vector<Target> all;
    for (const auto& group : groups) all.insert(all.end(), group.begin(), group.end());
    status = ConnectTo(*lab, all, rules_.spice == Spice::kChance ? kChanceAttempts : 1);
    for (size_t i = 0; status.ok() && i < groups.size(); ++i) status = Claims(groups[i]);
    if (status.ok()) status = AllAtOnce();
    if (status.ok() && rules_.spice == Spice::kChance) {
      std::vector<Target> doubtful = Doubtful();
      for (int i = 0; status.ok() && !doubtful.empty() && i < kMoreChanceAttempts; ++i) {
        status = ConnectTo(*lab, doubtful, 1);
        doubtful = Doubtful();
      }
    }
    if (!status.ok()) return status;
    for (const auto& [target, fates] : fates_) {
      std::string text =
          random_rules::Disagreement(target, rules_.spice, fates, claims_.at(target), tally_);
      if (!text.empty()) disagreements_.push_back(std::move(text));
    }
    ++tally_.rule_sets;
    return disagreements_;
  }

 private:
  absl::Status ConnectTo(ConnectLab& lab, const std::vector<Target>& targets, int attempts) {
    for (int i = 0; i < attempts; ++i) {
      for (const bool tracked : {true, false}) {
        const auto fates = lab.Connect(targets, tracked);
        if (!fates.ok()) return fates.status();
        for (const auto& [target, fate] : *fates) {
          (tracked ? fates_[target].tracked : fates_[target].untracked).push_back(fate);
        }
      }
    }
    return absl::OkStatus();
  }

  // All of one protocol and address.
  absl::Status Claims(const std::vector<Target>& group) {
    const Connect connect = ConnectOf(group.front());
    NodeRules node(ReadOptions(), {connect}, Evaluating());
    const auto reading = node.Read(RuleChanges::Everything());
    if (!reading.ok()) return reading.status();
    if (!reading->failed.empty() || !reading->skipped.empty()) {
      return absl::InternalError(
          absl::StrCat("not read: ", absl::StrJoin(reading->failed, "; ", absl::StreamFormatter()),
                       "; ", absl::StrJoin(reading->skipped, "; ")));
    }
    for (const auto& [key, owner] : reading->evaluation.taken) taken_.insert({key, owner});
    Claim claim{.trace = {}, .evaluation = reading->evaluation};
    for (const Target& target : group) {
      auto trace = node.TraceOne(connect, target.port);
      if (!trace.ok()) return trace.status();
      claim.trace = *std::move(trace);
      claims_.emplace(target, claim);
    }
    return absl::OkStatus();
  }

  // The evaluation for all connects has the ports that those for one connect have.
  absl::Status AllAtOnce() {
    NodeRules node(ReadOptions(), ConnectsToLoopbackAnd(NodeAddresses()), Evaluating());
    const auto reading = node.Read(RuleChanges::Everything());
    if (!reading.ok()) return reading.status();
    for (const uint16_t port : random_rules::Pool()) {
      for (const core::Protocol protocol : {core::Protocol::kTcp, core::Protocol::kUdp}) {
        const core::PortKey key{port, protocol};
        if (reading->evaluation.taken.contains(key) == taken_.contains(key)) continue;
        disagreements_.push_back(absl::StrCat(core::ToString(key), ": taken ",
                                              taken_.contains(key) ? "only" : "never",
                                              " in evaluations for one connect\n"));
      }
    }
    return absl::OkStatus();
  }

  std::vector<Target> Doubtful() const {
    std::vector<Target> doubtful;
    for (const auto& [target, fates] : fates_) {
      Tally unused;
      const bool right =
          random_rules::Disagreement(target, rules_.spice, fates, claims_.at(target), unused)
              .empty();
      if (!right) doubtful.push_back(target);
    }
    return doubtful;
  }

  const RandomRules& rules_;
  Tally& tally_;
  std::map<Target, Fates> fates_;
  std::map<Target, Claim> claims_;
  core::PortSnapshot taken_;
  std::vector<std::string> disagreements_;
};

void Report(const RandomRules& rules, std::vector<std::string> disagreements) {
  const size_t count = disagreements.size();
  if (count > kDisagreementsShown) disagreements.resize(kDisagreementsShown);
  std::string loaded;
  for (const char* command :
       {"nft list ruleset", "iptables-legacy-save", "ip6tables-legacy-save"}) {
    // Saving loads the legacy tables, and then lists tables that were not there.
    if (!rules.legacy && std::string(command).find("legacy") != std::string::npos) continue;
    const auto text = testing::RunCommand({"/bin/sh", "-c", command});
    absl::StrAppend(&loaded, "# ", command, "\n",
                    text.ok() ? *text : std::string(text.status().message()));
  }
  ADD_FAILURE() << random_rules::ToText(rules) << "\n"
                << loaded << "\n"
                << count << " disagreements, seed " << rules.seed << ", "
                << random_rules::SyntaxName(rules.syntax) << ":\n"
                << absl::StrJoin(disagreements, "\n");
}

void CompareAll(Syntax syntax) {
  Tally tally;
  int bad = 0;
  const uint64_t end = FirstSeed() + Seeds();
  for (uint64_t seed = FirstSeed(); seed < end && bad < kBadRuleSetsShown; ++seed) {
    const RandomRules rules = random_rules::Generate(syntax, seed);
    const auto disagreements = Trial(rules, tally).Run();
    ASSERT_TRUE(disagreements.ok()) << random_rules::ToText(rules) << disagreements.status();
    if (disagreements->empty()) continue;
    Report(rules, *disagreements);
    ++bad;
  }
  const std::string summary = random_rules::ToText(tally);
  std::printf("RandomRules, %s: %s\n", std::string(random_rules::SyntaxName(syntax)).c_str(),
              summary.c_str());
  ::testing::Test::RecordProperty("summary", summary);
  EXPECT_GT(tally.connects, 0U);
  EXPECT_GT(tally.redirected, 0U);
  EXPECT_GT(tally.firewall + tally.refused, 0U);
  EXPECT_LT(tally.open + tally.skipped, tally.connects / 2) << "most answers were not compared";
}

TEST(RandomRules, Nft) { CompareAll(Syntax::kNft); }
TEST(RandomRules, IptablesNft) { CompareAll(Syntax::kIptablesNft); }
TEST(RandomRules, IptablesLegacy) { CompareAll(Syntax::kIptablesLegacy); }
TEST(RandomRules, Mixed) { CompareAll(Syntax::kMixed); }

// What the kernel has notified of since the last call.
RuleChanges Notified(base::NetlinkSocket& socket) {
  RuleChanges changes;
  // Bounded by what fits into the socket's queue.
  while (true) {
    const auto received = socket.Receive([&changes](const nlmsghdr& message) {
      static_cast<void>(NoteChange(base::ViewOf(message), random_rules::kProbeTable, changes));
    });
    NPG_EXPECT_OK(received);
    if (!received.ok() || *received == base::NetlinkSocket::Received::kNothing) return changes;
    if (*received == base::NetlinkSocket::Received::kOverrun) return RuleChanges::Everything();
  }
}

absl::Status Change(Dice& dice, const RandomRules& rules, int number) {
  if (dice.Percent(25)) {
    const std::string rule = dice.Percent(25) ? "-F OUTPUT"
                                              : absl::StrCat("-I OUTPUT -p tcp -m tcp --dport ",
                                                             random_rules::RandomPort(dice),
                                                             " -j REDIRECT --to-ports 40080");
    return testing::RunCommand({"iptables-nft-restore", "--noflush"},
                               absl::StrCat("*nat\n", rule, "\nCOMMIT\n"))
        .status();
  }
  const std::string table = dice.PickOf(random_rules::TablesOf(rules.nft));
  std::string change = random_rules::RandomNftChange(dice, table, number);
  if (dice.Percent(5)) change = "flush table " + table + "\n";
  return testing::RunCommand({"nft", "-f", "-"}, change).status();
}

// A few changes at a time: what follows the notifications has what a fresh reader has.
void FollowChanges(uint64_t seed, size_t& differing) {
  constexpr int kSteps = 8;
  ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "these tests need root";
  NPG_ASSERT_OK(testing::RunCommand({"ip", "link", "set", "lo", "up"}));
  const RandomRules rules = random_rules::Generate(Syntax::kNft, seed);
  NPG_ASSERT_OK(random_rules::Install(rules));
  NPG_ASSERT_OK_AND_ASSIGN(base::NetlinkSocket socket,
                           base::NetlinkSocket::Open(NETLINK_NETFILTER));
  NPG_ASSERT_OK(socket.Join(NFNLGRP_NFTABLES));
  const std::vector<Connect> connects = ConnectsToLoopbackAnd(NodeAddresses());
  NodeRules following(ReadOptions(), connects, Evaluating());
  NPG_ASSERT_OK_AND_ASSIGN(NodeRules::Reading last, following.Read(RuleChanges::Everything()));
  Dice dice(seed);
  for (int step = 0; step < kSteps; ++step) {
    const size_t count = 1 + dice.Below(3);
    for (size_t i = 0; i < count; ++i) {
      NPG_ASSERT_OK(Change(dice, rules, step * 10 + static_cast<int>(i)));
    }
    NPG_ASSERT_OK_AND_ASSIGN(NodeRules::Reading now, following.Read(Notified(socket)));
    NodeRules fresh(ReadOptions(), connects, Evaluating());
    NPG_ASSERT_OK_AND_ASSIGN(const NodeRules::Reading whole, fresh.Read(RuleChanges::Everything()));
    const auto ports = [](const NodeRules::Reading& reading) {
      return absl::StrJoin(reading.evaluation.taken, " ", [](std::string* out, const auto& taken) {
        absl::StrAppend(out, core::ToString(taken.first), "=", taken.second.text());
      });
    };
    ASSERT_EQ(ports(now), ports(whole)) << "seed " << seed << ", step " << step;
    ASSERT_EQ(now.evaluation.unknown, whole.evaluation.unknown) << "seed " << seed;
    ASSERT_TRUE(now.evaluation == whole.evaluation) << "seed " << seed << ", step " << step;
    if (!(now.evaluation == last.evaluation)) ++differing;
    last = std::move(now);
  }
}

TEST(RandomChanges, AreFollowed) {
  size_t differing = 0;
  const uint64_t end = FirstSeed() + Seeds();
  for (uint64_t seed = FirstSeed(); seed < end && !HasFatalFailure(); ++seed) {
    FollowChanges(seed, differing);
  }
  ::testing::Test::RecordProperty("differing", static_cast<int>(differing));
  EXPECT_GT(differing, 0U) << "no change changed what is taken";
}

}  // namespace
}  // namespace npg::rules::random_rules_test
