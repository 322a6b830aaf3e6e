// SPDX-License-Identifier: Apache-2.0
#include "integration/rules/known_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "core/port.h"
#include "integration/rules/random_connects.h"
#include "integration/rules/random_rules.h"
#include "integration/rules/random_verdict.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/node_rules.h"
#include "rules/rule_changes.h"
#include "testing/command.h"
#include "testing/net_namespace.h"
#include "testing/status_asserts.h"

namespace npg::rules::known_rules_test {
namespace {

using known_rules::KnownRules;
using known_rules::Taken;
using random_rules::AddressesOf;
using random_rules::Answer;
using random_rules::ConnectLab;
using random_rules::Target;

using ::testing::IsEmpty;

struct Case {
  KnownRules rules;
  bool legacy = false;
};

// Used by GoogleTest to print one.
void PrintTo(const Case& one, std::ostream* out) { *out << one.rules.name; }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const auto& list : {known_rules::OfKubeProxy(), known_rules::OfHostPorts(),
                           known_rules::OfOthers(), known_rules::ThatTakeNothing()}) {
    for (const KnownRules& rules : list) {
      cases.push_back({rules, false});
      if (!rules.iptables.empty()) cases.push_back({rules, true});
    }
  }
  return cases;
}

// In the way of the tests with random rules, which install the same kinds of text.
absl::Status InstallKnown(const Case& test) {
  random_rules::RandomRules rules;
  rules.legacy = test.legacy;
  rules.nft = test.rules.nft;
  rules.ipset = test.rules.ipset;
  rules.v4 = test.rules.iptables;
  return random_rules::Install(rules);
}

std::vector<const char*> Scope(bool loopback) {
  if (loopback) return {AddressesOf(false).loopback, AddressesOf(true).loopback};
  return {AddressesOf(false).node, AddressesOf(true).node};
}

// By an evaluation for connects to loopback, or to the node's other addresses.
NodeRules::Reading Evaluated(bool loopback) {
  std::vector<Connect> connects;
  for (const char* address : Scope(loopback)) {
    for (const core::Protocol protocol : {core::Protocol::kTcp, core::Protocol::kUdp}) {
      connects.push_back({.protocol = protocol, .address = random_rules::AddressOf(address)});
    }
  }
  NodeRules::Options options;
  options.own_table = random_rules::kProbeTable;
  options.command_folders = {"/usr/sbin", "/sbin"};
  EvaluateOptions evaluate;
  evaluate.node_addresses = {random_rules::AddressOf(AddressesOf(false).node),
                             random_rules::AddressOf(AddressesOf(true).node)};
  NodeRules node(options, connects, evaluate);
  auto reading = node.Read(RuleChanges::Everything());
  NPG_EXPECT_OK(reading);
  return reading.ok() ? *std::move(reading) : NodeRules::Reading{};
}

void ExpectTaken(const Case& test, const Taken& expected, bool loopback) {
  SCOPED_TRACE(loopback ? "loopback" : "node");
  const NodeRules::Reading reading = Evaluated(loopback);
  EXPECT_THAT(reading.failed, IsEmpty());
  EXPECT_THAT(reading.skipped, IsEmpty());
  EXPECT_THAT(reading.evaluation.unknown, IsEmpty());
  EXPECT_THAT(reading.evaluation.open, IsEmpty());
  Taken left = expected;
  for (const auto& [key, owner] : reading.evaluation.taken) {
    const auto entry = left.find(core::ToString(key));
    if (entry == left.end()) {
      ADD_FAILURE() << core::ToString(key) << " is taken by " << owner;
      continue;
    }
    const std::string begin = absl::StrReplaceAll(
        entry->second, {{"$nat", test.legacy ? "iptables-legacy table nat" : "nft table ip nat"}});
    EXPECT_TRUE(absl::StartsWith(owner.text(), begin)) << owner << ", not " << begin;
    left.erase(entry);
  }
  for (const auto& [port, owner] : left) ADD_FAILURE() << port << " is not taken";
}

// That the expectation is the kernel's answer, for the ports that the lab has.
void ExpectOfKernel(ConnectLab& lab, const Taken& expected, bool loopback) {
  SCOPED_TRACE(loopback ? "kernel, loopback" : "kernel, node");
  std::vector<Target> targets;
  for (const char* address : Scope(loopback)) {
    for (const core::Protocol protocol : {core::Protocol::kTcp, core::Protocol::kUdp}) {
      for (const uint16_t port : random_rules::Pool()) {
        targets.push_back({.address = address, .protocol = protocol, .port = port});
      }
    }
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto tracked, lab.Connect(targets, true));
  NPG_ASSERT_OK_AND_ASSIGN(const auto untracked, lab.Connect(targets, false));
  std::map<std::string, bool> taken;
  for (const Target& target : targets) {
    const Answer answer = random_rules::AnswerOf(
        {.tracked = {tracked.at(target)}, .untracked = {untracked.at(target)}});
    EXPECT_NE(answer, Answer::kEither) << random_rules::ToText(target);
    const bool takes = answer == Answer::kRedirected || answer == Answer::kRefused;
    taken[core::ToString(core::PortKey{target.port, target.protocol})] |= takes;
  }
  for (const auto& [port, is] : taken) EXPECT_EQ(is, expected.contains(port)) << port;
}

class KnownRulesTest : public ::testing::TestWithParam<Case> {};

TEST_P(KnownRulesTest, TakesWhatTheKernelTakes) {
  const KnownRules& rules = GetParam().rules;
  NPG_ASSERT_OK_AND_ASSIGN(ConnectLab lab, ConnectLab::Enter());
  NPG_ASSERT_OK(InstallKnown(GetParam()));
  ExpectOfKernel(lab, rules.loopback, true);
  ExpectOfKernel(lab, rules.node, false);
  ExpectTaken(GetParam(), rules.loopback, true);
  ExpectTaken(GetParam(), rules.node, false);
}

INSTANTIATE_TEST_SUITE_P(All, KnownRulesTest, ::testing::ValuesIn(Cases()),
                         [](const ::testing::TestParamInfo<Case>& test) {
                           const bool iptables = !test.param.rules.iptables.empty();
                           const char* variant = test.param.legacy ? "Legacy" : "Nft";
                           return absl::StrCat(test.param.rules.name, iptables ? variant : "");
                         });

TEST(KnownRules, OfAnotherNamespaceTakeNothing) {
  NPG_ASSERT_OK_AND_ASSIGN(const testing::NetNamespace other, testing::NetNamespace::Create());
  NPG_ASSERT_OK(other.Run([] {
    return testing::RunCommand({"iptables-nft", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport",
                                "30001", "-j", "REDIRECT", "--to-ports", "8080"})
        .status();
  }));
  NPG_ASSERT_OK(ConnectLab::Enter());
  EXPECT_THAT(Evaluated(true).evaluation.taken, IsEmpty());
  NPG_ASSERT_OK(other.Enter());
  EXPECT_THAT(Evaluated(true).evaluation.taken, ::testing::SizeIs(1));
}

}  // namespace
}  // namespace npg::rules::known_rules_test
