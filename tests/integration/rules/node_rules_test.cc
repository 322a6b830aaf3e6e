// SPDX-License-Identifier: Apache-2.0
#include "rules/node_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"
#include "base/netlink_view.h"
#include "core/listener.h"
#include "core/port.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/rule.h"
#include "rules/rule_changes.h"
#include "rules/save_command.h"
#include "testing/command.h"
#include "testing/status_asserts.h"

namespace npg::rules::node_rules_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint8_t kIp4 = 2;  // NFPROTO_IPV4

// Each test runs in its own network namespace, which ends with the process.
class NodeRulesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "these tests need root";
    MakeRules({});
  }
  void MakeRules(const EvaluateOptions& evaluate) {
    NodeRules::Options options;
    options.command_folders = CommandFolders();
    rules_ = std::make_unique<NodeRules>(std::move(options),
                                         ConnectsToLoopbackAnd(core::AddressSet()), evaluate);
  }
  static void Shell(const std::string& line) {
    NPG_ASSERT_OK(testing::RunCommand({"/bin/sh", "-ec", "PATH=/usr/sbin:/sbin:$PATH; " + line}));
  }
  // A chain `output` of type nat, which jumps to the chain `ports`.
  static void AddTable() {
    Shell(
        "nft 'add table ip t; add chain ip t output { type nat hook output priority -100; }; "
        "add chain ip t ports; add rule ip t output jump ports; "
        "add set ip t s { type inet_service; }; "
        "add rule ip t ports tcp dport @s redirect to :9'");
  }
  static TableId Table() { return {Engine::kNfTables, kIp4, "t"}; }

  NodeRules::Reading Read(const RuleChanges& changes = RuleChanges()) {
    auto reading = rules_->Read(changes);
    NPG_EXPECT_OK(reading);
    return reading.ok() ? *std::move(reading) : NodeRules::Reading();
  }
  std::vector<uint16_t> Ports(const RuleChanges& changes = RuleChanges()) {
    std::vector<uint16_t> ports;
    const NodeRules::Reading reading = Read(changes);
    EXPECT_THAT(reading.failed, IsEmpty());
    EXPECT_FALSE(reading.torn);
    for (const auto& [key, owner] : reading.evaluation.taken) ports.push_back(key.port);
    return ports;
  }

  std::unique_ptr<NodeRules> rules_;
};

TEST_F(NodeRulesTest, ReadsOnlyWhatChanged) {
  AddTable();
  EXPECT_THAT(Ports(), IsEmpty());
  Shell("nft add element ip t s '{ 30001 }'");
  EXPECT_THAT(Ports(), IsEmpty()) << "it was not asked to read anything again";
  RuleChanges set;
  set.sets.emplace(Table(), "s");
  EXPECT_THAT(Ports(set), ElementsAre(30001));

  Shell("nft add rule ip t ports tcp dport 30002 redirect to :9");
  EXPECT_THAT(Ports(set), ElementsAre(30001));
  RuleChanges chain;
  chain.chains.insert({Table(), "ports"});
  EXPECT_THAT(Ports(chain), ElementsAre(30001, 30002));
  Shell("nft add rule ip t ports tcp dport 30003 redirect to :9");
  EXPECT_THAT(Ports(RuleChanges::Everything()), ElementsAre(30001, 30002, 30003));
}

TEST_F(NodeRulesTest, FollowsChainsWithAHook) {
  EXPECT_THAT(Ports(), IsEmpty());
  AddTable();
  Shell("nft add rule ip t ports tcp dport 30002 redirect to :9");
  RuleChanges bases;
  bases.base_chains = true;
  EXPECT_THAT(Ports(bases), ElementsAre(30002));
  // A notification of its removal does not name the hook.
  Shell("nft 'flush chain ip t output; delete chain ip t output'");
  RuleChanges removed;
  removed.removed.insert({Table(), "output"});
  EXPECT_THAT(Ports(removed), IsEmpty());
}

TEST_F(NodeRulesTest, ForgetsARemovedTable) {
  AddTable();
  Shell("nft add rule ip t ports tcp dport 30002 redirect to :9");
  EXPECT_THAT(Ports(), ElementsAre(30002));
  Shell("nft delete table ip t");
  RuleChanges removed;
  removed.tables.insert(Table());
  EXPECT_THAT(Ports(removed), IsEmpty());
  EXPECT_EQ(Read().rules, 0U);
}

TEST_F(NodeRulesTest, ReadsIpSetsAndLegacyTablesAgainWhenAsked) {
  Shell(
      "ipset create s bitmap:port range 30000-30100; "
      "iptables-legacy -t nat -A OUTPUT -p tcp -m set --match-set s dst -j REDIRECT --to-ports 9");
  EXPECT_THAT(Ports(), IsEmpty());
  RuleChanges legacy;
  legacy.legacy = true;
  EXPECT_THAT(Ports(legacy), IsEmpty());
  Shell("ipset add s 30001");
  EXPECT_THAT(Ports(legacy), IsEmpty());
  RuleChanges ip_sets;
  ip_sets.ip_sets = true;
  EXPECT_THAT(Ports(ip_sets), ElementsAre(30001));
  Shell("iptables-legacy -t nat -F OUTPUT");
  EXPECT_THAT(Ports(ip_sets), ElementsAre(30001));
  EXPECT_THAT(Ports(legacy), IsEmpty());
}

TEST_F(NodeRulesTest, NoticesKubeProxy) {
  EXPECT_FALSE(Read().kube_proxy);
  Shell("iptables-nft -t nat -N KUBE-SERVICES");
  EXPECT_FALSE(Read(RuleChanges::Everything()).kube_proxy) << "no connect meets it";
  Shell("iptables-nft -t nat -A OUTPUT -j KUBE-SERVICES");
  EXPECT_TRUE(Read(RuleChanges::Everything()).kube_proxy);
  Shell("nft flush ruleset");
  EXPECT_FALSE(Read(RuleChanges::Everything()).kube_proxy);
  Shell(
      "nft 'add table ip6 kube-proxy; add chain ip6 kube-proxy output { type nat hook output "
      "priority -100; }'");
  EXPECT_TRUE(Read(RuleChanges::Everything()).kube_proxy);
}

TEST_F(NodeRulesTest, TriesAgainWhatItMayNotRead) {
  AddTable();
  Shell("nft add rule ip t ports tcp dport 30002 redirect to :9");
  ASSERT_EQ(seteuid(65534), 0);
  const auto reading = rules_->Read(RuleChanges::Everything());
  ASSERT_EQ(seteuid(0), 0);
  NPG_ASSERT_OK(reading);
  ASSERT_THAT(reading->failed, SizeIs(1));
  EXPECT_EQ(reading->failed[0].code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(std::string(reading->failed[0].message()), HasSubstr("CAP_NET_ADMIN"));
  EXPECT_THAT(Ports(), ElementsAre(30002));
}

// A chain of 10,000 rules is not read again for one of them.
TEST_F(NodeRulesTest, AppliesAddedAndRemovedRules) {
  AddTable();
  EXPECT_THAT(Ports(), IsEmpty());
  NPG_ASSERT_OK_AND_ASSIGN(auto socket, base::NetlinkSocket::Open(NETLINK_NETFILTER));
  NPG_ASSERT_OK(socket.Join(NFNLGRP_NFTABLES));
  const auto changes_of = [&](const std::string& line) {
    Shell(line);
    RuleChanges changes;
    while (true) {
      const auto received = socket.Receive([&](const nlmsghdr& message) {
        NoteChange(base::ViewOf(message), "nodeport_guard", changes);
      });
      NPG_EXPECT_OK(received);
      if (!received.ok() || *received != base::NetlinkSocket::Received::kMessages) break;
    }
    return changes;
  };
  const auto handle = [](const std::string& rule) {
    return absl::StrCat("$(nft -a list chain ip t ports | sed -n 's/.*", rule, ".*# handle //p')");
  };
  struct Change {
    std::string line;
    std::vector<uint16_t> ports;
    bool edit = true;  // otherwise the chain is read again
  };
  const std::vector<Change> steps = {
      {"nft add rule ip t ports tcp dport 30002 redirect to :9", {30002}},
      {"nft add rule ip t ports tcp dport 30003 redirect to :9", {30002, 30003}},
      // At the beginning, and so before both.
      {"nft insert rule ip t ports tcp dport 30002-30003 accept", {}},
      // In between.
      {absl::StrCat("nft insert rule ip t ports position ", handle("dport 30003 redirect"),
                    " tcp dport 30004 redirect to :9"),
       {30004}},
      {absl::StrCat("nft replace rule ip t ports handle ", handle("30002-30003 accept"),
                    " tcp dport 30003-30004 accept"),
       {30002},
       false},
      {absl::StrCat("nft delete rule ip t ports handle ", handle("30003-30004 accept")),
       {30002, 30003, 30004}},
      {absl::StrCat("nft delete rule ip t ports handle ", handle("dport 30002 redirect")),
       {30003, 30004}},
  };
  for (const Change& step : steps) {
    const RuleChanges changes = changes_of(step.line);
    EXPECT_EQ(changes.chains.empty(), step.edit) << step.line;
    EXPECT_EQ(Ports(changes), step.ports) << step.line;
    // A notification that comes after the reading that has its change changes nothing.
    EXPECT_EQ(Ports(changes), step.ports) << step.line;
  }
}

TEST_F(NodeRulesTest, ADnatToTheNodeItselfTakesNoPort) {
  AddTable();
  Shell("nft add rule ip t ports tcp dport 30002 dnat to 192.0.2.7:30002");
  EXPECT_THAT(Ports(), ElementsAre(30002));
  MakeRules({.node_addresses = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7}}});
  EXPECT_THAT(Ports(), IsEmpty());
}

TEST_F(NodeRulesTest, Traces) {
  AddTable();
  Shell("nft add rule ip t ports tcp dport 30002 redirect to :9");
  EXPECT_THAT(Ports(), ElementsAre(30002));
  Connect connect{core::Protocol::kTcp, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}};
  NPG_ASSERT_OK_AND_ASSIGN(Trace trace, rules_->TraceOne(connect, 30002));
  EXPECT_EQ(trace.outcome, Outcome::kRedirected);
  NPG_ASSERT_OK_AND_ASSIGN(trace, rules_->TraceOne(connect, 30003));
  EXPECT_EQ(trace.outcome, Outcome::kHost);
}

}  // namespace
}  // namespace npg::rules::node_rules_test
