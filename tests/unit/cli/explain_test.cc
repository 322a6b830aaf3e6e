// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "cli/args/options.h"
#include "cli/explain_report.h"
#include "core/coverage.h"
#include "core/decision_rows.h"
#include "core/port.h"
#include "inspect/guard_facts.h"
#include "unit/inspect/facts.h"

namespace npg::cli::explain_test {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr core::PortKey kTcp = {33589, core::Protocol::kTcp};

// The row whose answer is no; 0 if none is. Expects yes from the rows before it and no answer
// from those after it.
int RowOfNo(const Walk& walk) {
  EXPECT_THAT(walk.rows, SizeIs(8));
  int no = 0;
  for (const ExplainRow& row : walk.rows) {
    EXPECT_EQ(row.yes.has_value(), no == 0) << "row " << row.number;
    if (row.yes == false) no = row.number;
  }
  return no;
}

std::vector<int> Numbers(const Walk& walk) {
  std::vector<int> numbers;
  numbers.reserve(walk.rows.size());
  for (const ExplainRow& row : walk.rows) numbers.push_back(row.number);
  return numbers;
}

Walk OnlyWalk(const inspect::GuardFacts& facts, const core::PortKey& key = kTcp) {
  const std::vector<Walk> walks = WalkDecision(facts, key);
  EXPECT_THAT(walks, SizeIs(1));
  return walks.at(0);
}

TEST(ExplainTest, AnExemptedConnect) {
  const Walk walk = OnlyWalk(inspect::MakeFacts());
  EXPECT_EQ(RowOfNo(walk), 0);
  EXPECT_EQ(walk.verdict, core::Verdict::kExempt);
  EXPECT_TRUE(walk.effective);
  EXPECT_EQ(walk.sentence,
            "A connect to 127.0.0.1:33589 is exempted: containerd[812] listens there and "
            "default/web owns the NodePort.");
}

TEST(ExplainTest, AListenerThatMayNotAccept) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners[0].accept_queue = 3;
  facts.listeners[0].accept_limit = 128;
  Walk walk = OnlyWalk(facts);
  EXPECT_THAT(walk.rows[4].fact, EndsWith("; 3 connections wait to be accepted (backlog 128)"));
  EXPECT_THAT(walk.sentence, EndsWith("default/web owns the NodePort."));
  facts.listeners[0].accept_queue = 129;
  walk = OnlyWalk(facts);
  EXPECT_THAT(walk.sentence,
              EndsWith("default/web owns the NodePort. But 129 connections wait to be accepted "
                       "(backlog 128); if its process never accepts them, connects to it hang: run "
                       "with --ignore-process +containerd."));
}

TEST(ExplainTest, ANodePortWithoutAServiceName) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.nodeports.clear();
  inspect::AddNodePort(facts, 33589, "");
  EXPECT_EQ(OnlyWalk(facts).sentence,
            "A connect to 127.0.0.1:33589 is exempted: containerd[812] listens there and the "
            "Service that has the NodePort would get it.");
}

TEST(ExplainTest, NotANodePort) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.nodeports.clear();
  const Walk walk = OnlyWalk(facts);
  EXPECT_EQ(RowOfNo(walk), 3);
  EXPECT_EQ(walk.verdict, core::Verdict::kPassNotNodePort);
  EXPECT_THAT(walk.rows[4].fact, StartsWith("containerd[812] on 127.0.0.1 (uid 0, "))
      << "the row is not reached";
  EXPECT_EQ(walk.sentence,
            "A connect to 127.0.0.1:33589 is left alone: 33589/tcp is not a known NodePort.");
}

TEST(ExplainTest, APortThatNoSourceCouldSeeMayBeANodePort) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.nodeports.clear();
  inspect::AddSource(facts, abi::Source::kNetfilter).coverage = core::Coverage::kNone;
  EXPECT_THAT(OnlyWalk(facts).sentence,
              HasSubstr("33589/tcp is not a known NodePort, but may be one: the sources do not "
                        "see all of them"));
}

TEST(ExplainTest, CiliumTakesTheConnectFirst) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.cilium_socket_lb = true;
  const Walk walk = OnlyWalk(facts);
  EXPECT_EQ(walk.verdict, core::Verdict::kExempt);
  EXPECT_FALSE(walk.effective);
  EXPECT_THAT(walk.sentence, HasSubstr("should be exempted and is not: Cilium's socket load"));
}

TEST(ExplainTest, AnotherNetworkNamespace) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.same_netns = false;
  const Walk walk = OnlyWalk(facts);
  EXPECT_EQ(RowOfNo(walk), 4);
  EXPECT_EQ(walk.sentence,
            "A connect to 127.0.0.1:33589 from here is left alone: the guard serves another "
            "network namespace.");
  facts.same_netns = std::nullopt;
  EXPECT_EQ(RowOfNo(OnlyWalk(facts)), 0) << "unknown counts as the same namespace";
}

TEST(ExplainTest, NoListener) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners.clear();
  const Walk walk = OnlyWalk(facts);
  EXPECT_EQ(RowOfNo(walk), 5);
  EXPECT_EQ(walk.rows[4].fact, "none");
  EXPECT_EQ(walk.sentence,
            "A connect to 127.0.0.1:33589 is left to default/web: no process of this node listens "
            "on 33589/tcp there.");
}

TEST(ExplainTest, AListenerThatLoopbackDoesNotReach) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners = {inspect::MakeListener("10.0.0.5", 33589, "envoy", 3)};
  const Walk walk = OnlyWalk(facts);
  EXPECT_EQ(RowOfNo(walk), 5);
  EXPECT_EQ(walk.rows[4].fact, "none; only envoy[3] on 10.0.0.5, not reachable over loopback");
}

TEST(ExplainTest, AnIgnoredOwner) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners = {inspect::MakeListener("0.0.0.0", 33589, "kube-proxy", 77)};
  inspect::BoundBy(facts.listeners[0], "kube-proxy", 77);
  const Walk walk = OnlyWalk(facts);
  EXPECT_EQ(RowOfNo(walk), 6);
  EXPECT_EQ(walk.sentence,
            "A connect to 127.0.0.1:33589 is left to default/web: kube-proxy[77] listens there and "
            "is ignored. If kube-proxy serves the health check of another Service "
            "(healthCheckNodePort) on this number, nothing reaches it: connects from outside and "
            "from the node go to default/web instead; give one of the two another number.");
}

TEST(ExplainTest, AHealthCheckNodePortThatIsANodePort) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners = {inspect::MakeListener("::", 33589, "kube-proxy", 77)};
  inspect::AddSource(facts, abi::Source::kKubernetes).health_check_ports = 1;
  const auto sentence = [&] { return OnlyWalk(facts).sentence; };
  EXPECT_THAT(sentence(),
              EndsWith("is ignored. kube-proxy serves the health check of another Service "
                       "(healthCheckNodePort) on this number: connects from outside and from the "
                       "node go to default/web instead; give one of the two another number."));
  // kube-proxy before Kubernetes 1.24 only holds NodePorts: connections to these wait forever.
  facts.listeners[0].accept_queue = 129;
  facts.listeners[0].accept_limit = 128;
  EXPECT_THAT(sentence(), Not(HasSubstr("health check")));
  facts.listeners = {inspect::MakeListener("127.0.0.1", 33589, "kube-proxy", 77)};
  EXPECT_THAT(sentence(), Not(HasSubstr("health check")));
  facts.listeners = {inspect::MakeListener("::", 33589, "k3s-server", 77)};
  facts.policy.push_back(inspect::MakePolicy("k3s-server", abi::OwnerVerdict::kHolder));
  EXPECT_THAT(sentence(), Not(HasSubstr("health check")));
}

TEST(ExplainTest, APortOfRulesThatNameNoService) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.nodeports.clear();
  inspect::AddNodePort(facts, 33589, "nft table ip cni_hostport, chain hostports");
  EXPECT_THAT(OnlyWalk(facts).sentence,
              EndsWith("containerd[812] listens there and the rules of nft table ip cni_hostport, "
                       "chain hostports would get it."));
  facts.nodeports.clear();
  inspect::AddNodePort(facts, 33589, "IPVS");
  facts.listeners.clear();
  EXPECT_THAT(OnlyWalk(facts).sentence, HasSubstr(" is left to IPVS: no process"));
}

TEST(ExplainTest, ObserveMode) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.config.mode = abi::Mode::kObserve;
  const Walk walk = OnlyWalk(facts);
  EXPECT_EQ(RowOfNo(walk), 7);
  EXPECT_EQ(walk.sentence,
            "A connect to 127.0.0.1:33589 is counted and left to default/web: containerd[812] "
            "listens there, but the mode is observe.");
}

TEST(ExplainTest, TheRowOfTheMarkHasItsFailures) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_EQ(OnlyWalk(facts).rows[7].fact, "0x1000/0x1000, has not failed yet");
  facts.counters[abi::Counter::kMarkFailed] = 3;
  EXPECT_EQ(OnlyWalk(facts).rows[7].fact, "0x1000/0x1000, failed 3 times");
}

TEST(ExplainTest, ABrokenGuardExemptsNothing) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.nft = dataplane::NftTableState{};
  const Walk walk = OnlyWalk(facts);
  EXPECT_EQ(walk.verdict, core::Verdict::kExempt);
  EXPECT_FALSE(walk.effective);
  EXPECT_EQ(walk.sentence,
            "A connect to 127.0.0.1:33589 should be exempted and is not: nft table inet "
            "nodeport_guard is missing, so nothing is exempted.");
}

TEST(ExplainTest, TheProgramOfTheAddressFamilyDecides) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.links[1].link.cgroup_id = 0;  // npg_connect6
  EXPECT_TRUE(OnlyWalk(facts).effective);
  facts.listeners = {inspect::MakeListener("::1", 33589, "containerd", 812)};
  EXPECT_EQ(OnlyWalk(facts).sentence,
            "A connect to [::1]:33589 should be exempted and is not: program npg_connect6 is not "
            "attached, its link is dead.");
}

TEST(ExplainTest, OneWalkForEachListener) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  core::Listener v6only = inspect::MakeListener("::", 33589, "six", 4);
  v6only.v6only = true;
  facts.listeners = {inspect::MakeListener("0.0.0.0", 33589, "any", 1),
                     inspect::MakeListener("127.0.0.1", 33589, "one", 2),
                     inspect::MakeListener("127.0.0.5", 33589, "five", 3),
                     inspect::MakeListener("10.0.0.5", 33589, "node", 9),
                     inspect::MakeListener("127.0.0.1", 33590, "other", 9),
                     v6only,
                     inspect::MakeListener("::", 33589, "dual", 5)};
  std::vector<std::string> destinations;
  for (const Walk& walk : WalkDecision(facts, kTcp)) {
    destinations.push_back(walk.listener->owner.comm + " " + walk.destination);
  }
  EXPECT_THAT(destinations,
              ElementsAre("any 127.0.0.2:33589", "one 127.0.0.1:33589", "five 127.0.0.5:33589",
                          "six [::1]:33589", "dual 127.0.0.2:33589"));
}

TEST(ExplainTest, SocketsThatShareAnAddressShareAWalk) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners.push_back(facts.listeners[0]);
  EXPECT_THAT(WalkDecision(facts, kTcp), SizeIs(1));
}

TEST(ExplainTest, WithoutProtocolExplainsThoseOfNodePorts) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  ExplainOptions options;
  options.port = 33589;
  EXPECT_THAT(KeysToExplain(facts, options), ElementsAre(kTcp));
  inspect::AddNodePort(facts, 33589, "default/dns", abi::Bit(abi::Source::kFile),
                       core::Protocol::kUdp);
  const core::PortKey udp = {33589, core::Protocol::kUdp};
  EXPECT_THAT(KeysToExplain(facts, options), ElementsAre(kTcp, udp));
  options.protocol = core::Protocol::kUdp;
  EXPECT_THAT(KeysToExplain(facts, options), ElementsAre(udp));
  options.protocol = std::nullopt;
  options.port = 80;
  EXPECT_THAT(KeysToExplain(facts, options), ElementsAre(core::PortKey{80, core::Protocol::kTcp}));
}

TEST(ExplainTest, UdpHasItsOwnWalk) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  inspect::AddNodePort(facts, 33589, "default/dns", abi::Bit(abi::Source::kFile),
                       core::Protocol::kUdp);
  facts.listeners = {inspect::MakeListener("127.0.0.1", 33589, "coredns", 9, core::Protocol::kUdp)};
  const Walk walk = OnlyWalk(facts, {33589, core::Protocol::kUdp});
  EXPECT_EQ(walk.rows[1].fact, "udp");
  EXPECT_THAT(walk.sentence,
              StartsWith("A UDP connect to 127.0.0.1:33589 is exempted: coredns[9]"));
}

// The flags that decided, and what they matched.
TEST(ExplainTest, NamesTheRuleOfThePolicyThatDecided) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  const auto fact = [&] { return OnlyWalk(facts, kTcp).rows[5].fact; };
  EXPECT_EQ(fact(), "guarded: --guard-uid names 0, --ignore-process does not name containerd");
  facts.policy.push_back(inspect::MakePolicy("containerd", abi::OwnerVerdict::kHolder));
  EXPECT_EQ(fact(), "ignored: --ignore-process names containerd");
  EXPECT_EQ(OnlyWalk(facts, kTcp).verdict, core::Verdict::kPassIgnoredOwner);
  facts.listeners[0].binder->asked_port = 0;
  EXPECT_EQ(fact(),
            "guarded: --guard-uid names 0, --ignore-process names containerd, but it asked for any "
            "port");

  facts.config.default_verdict = abi::OwnerVerdict::kIgnored;
  facts.policy = {inspect::MakePolicy("kubelet", abi::OwnerVerdict::kGuarded)};
  EXPECT_EQ(fact(), "ignored: --only-process does not name containerd (kubelet)");
  facts.policy.push_back(inspect::MakePolicy("containerd", abi::OwnerVerdict::kGuarded));
  EXPECT_EQ(fact(), "guarded: --guard-uid names 0, --only-process names containerd");
  EXPECT_EQ(OnlyWalk(facts, kTcp).verdict, core::Verdict::kExempt);
}

TEST(ExplainTest, NamesTheFlagsThatWouldGuardAnUntrustedOwner) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  inspect::BoundBy(facts.listeners[0], "agent", 812, 1000);
  const Walk walk = OnlyWalk(facts, kTcp);
  EXPECT_EQ(walk.verdict, core::Verdict::kPassUntrustedOwner);
  EXPECT_EQ(RowOfNo(walk), 6);
  EXPECT_EQ(walk.rows[5].fact,
            "untrusted: neither --guard-uid (0) nor --guard-cgroup names uid 1000");
  EXPECT_EQ(
      walk.sentence,
      "A connect to 127.0.0.1:33589 is left to default/web: containerd[812], uid 1000, is not "
      "trusted; to guard it, run with --guard-uid +1000 or --guard-cgroup "
      "/system.slice/containerd.service.");
  facts.listeners[0].binder = std::nullopt;
  EXPECT_EQ(OnlyWalk(facts, kTcp).rows[5].fact,
            "untrusted: the guard has no record of who bound it");
  facts.config.any_uid = true;
  inspect::BoundBy(facts.listeners[0], "agent", 812, 1000);
  EXPECT_EQ(OnlyWalk(facts, kTcp).rows[5].fact,
            "guarded: --guard-uid any, --ignore-process does not name agent");
}

TEST(ExplainTest, AUdpSocketThatAskedForNoPort) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  inspect::AddNodePort(facts, 33589, "default/dns", abi::Bit(abi::Source::kNetfilter),
                       core::Protocol::kUdp);
  facts.listeners = {inspect::MakeListener("0.0.0.0", 33589, "coredns", 9, core::Protocol::kUdp)};
  facts.listeners[0].binder->asked_port = 0;
  const Walk walk = OnlyWalk(facts, {33589, core::Protocol::kUdp});
  EXPECT_EQ(walk.verdict, core::Verdict::kPassNoListener);
  EXPECT_EQ(walk.rows[4].fact,
            "none; only coredns[9] on 0.0.0.0, a UDP socket that asked for no port");
}

TEST(ExplainTest, AListenerThatIsBoundToADeviceIsNotSeen) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners[0].ifindex = 1;
  const Walk walk = OnlyWalk(facts, kTcp);
  EXPECT_EQ(walk.verdict, core::Verdict::kPassNoListener);
  EXPECT_THAT(walk.rows[4].fact, HasSubstr("bound to a device"));
}

TEST(ExplainTest, AnOwnAddressInScope) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners = {inspect::MakeListener("10.0.0.5", 33589, "envoy", 3)};
  // With scope loopback, no listener receives a connect to 127.0.0.1.
  EXPECT_EQ(OnlyWalk(facts, kTcp).verdict, core::Verdict::kPassNoListener);
  facts.config.scope = abi::Scope::kLocal;
  facts.own = {inspect::Address("10.0.0.5")};
  const Walk walk = OnlyWalk(facts, kTcp);
  EXPECT_EQ(walk.verdict, core::Verdict::kExempt);
  // The programs check the address twice: first whether addresses other than loopback count.
  EXPECT_THAT(Numbers(walk), ElementsAre(2, 1, 3, 2, 4, 5, 6, 7, 8));
  EXPECT_EQ(walk.rows[0].fact,
            "10.0.0.5, which is not loopback; --scope local guards the node's addresses, too");
  EXPECT_EQ(walk.rows[3].fact, "10.0.0.5, an address of this node");
  facts.nodeports.clear();
  EXPECT_THAT(Numbers(OnlyWalk(facts, kTcp)), ElementsAre(2, 1, 3, 4, 5, 6, 7, 8));
}

TEST(ExplainTest, AnAddressOfTheNodeThatIsLeftOut) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners = {inspect::MakeListener("192.0.2.77", 33589, "envoy", 3)};
  facts.config.scope = abi::Scope::kLocal;
  facts.own = {inspect::Address("10.0.0.5")};
  facts.left_out = {{inspect::Address("192.0.2.77"), "lo", core::AddressRole::kLoopback}};
  const Walk walk = OnlyWalk(facts, kTcp);
  EXPECT_NE(walk.verdict, core::Verdict::kExempt);
  EXPECT_THAT(walk.destination, HasSubstr("192.0.2.77"));
  EXPECT_EQ(walk.rows[3].fact,
            "192.0.2.77, an address of this node on lo that is left out (the interface is lo); "
            "--local-address +192.0.2.77 adds it");
  EXPECT_EQ(walk.rows[3].yes, false);
}

// In the order of npg_decide(), then the rows that it did not reach.
TEST(ExplainTest, RowsAreInTheOrderInWhichTheyAreAsked) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  EXPECT_THAT(Numbers(OnlyWalk(facts)), ElementsAre(2, 1, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(OnlyWalk(facts).rows[0].fact, "127.0.0.1, which is loopback");
  facts.nodeports.clear();
  EXPECT_THAT(Numbers(OnlyWalk(facts)), ElementsAre(2, 1, 3, 4, 5, 6, 7, 8));
}

TEST(ExplainTest, QuestionsAreThoseOfTheTable) {
  const Walk walk = OnlyWalk(inspect::MakeFacts());
  for (const core::DecisionRow& row : core::kDecisionRows) {
    EXPECT_EQ(std::count_if(walk.rows.begin(), walk.rows.end(),
                            [&](const ExplainRow& shown) {
                              return shown.number == row.number && shown.question == row.question;
                            }),
              1)
        << row.number;
  }
}

TEST(ExplainTest, EndsWithTheSentenceAndFits80Columns) {
  const inspect::GuardFacts facts = inspect::MakeFacts();
  ExplainOptions options;
  options.port = 33589;
  const ExplainReport report = MakeExplainReport(facts, options);
  const std::string text = RenderExplain(report, {});
  EXPECT_THAT(text, StartsWith("A connect to 127.0.0.1:33589 (tcp)\n"
                               "  ROW  QUESTION               FACT"));
  EXPECT_THAT(text,
              EndsWith("\n\nA connect to 127.0.0.1:33589 is exempted: containerd[812] listens "
                       "there and default/web owns the NodePort.\n"));
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    if (absl::StartsWith(line, "A connect")) continue;  // one sentence, one line
    EXPECT_LE(line.size(), 80U) << line;
  }
}

TEST(ExplainTest, JsonHasTheSame) {
  const inspect::GuardFacts facts = inspect::MakeFacts();
  ExplainOptions options;
  options.port = 33589;
  const nlohmann::ordered_json json = ExplainJson(MakeExplainReport(facts, options));
  EXPECT_EQ(json["healthy"], true);
  const nlohmann::ordered_json& walk = json["walks"][0];
  EXPECT_EQ(walk["port"], 33589);
  EXPECT_EQ(walk["destination"], "127.0.0.1:33589");
  EXPECT_EQ(walk["rows"].size(), 8U);
  EXPECT_EQ(walk["rows"][2]["row"], 3);
  EXPECT_EQ(walk["rows"][2]["fact"], "default/web, from netfilter, known for 3d");
  EXPECT_EQ(walk["rows"][2]["yes"], true);
  EXPECT_EQ(walk["listener"]["owner"]["comm"], "containerd");
  EXPECT_EQ(walk["verdict"], "exempt");
  EXPECT_EQ(walk["exempted"], true);
  EXPECT_EQ(json["guard"]["nft_table"]["present"], true);
}

TEST(ExplainTest, SaysWhetherAProcessMayBindAPortWithoutListener) {
  inspect::GuardFacts facts = inspect::MakeFacts();
  facts.listeners.clear();
  EXPECT_THAT(OnlyWalk(facts).sentence, EndsWith("no process of this node listens on 33589/tcp "
                                                 "there."));
  facts.protection.bind = abi::BindProtection::kDeny;
  facts.protection.refusal_errno = EADDRINUSE;
  facts.refusable = {{kTcp, abi::kFamilyV4 | abi::kFamilyV6}};
  facts.first_holders = {{kTcp, 1000}};
  EXPECT_THAT(
      OnlyWalk(facts).sentence,
      EndsWith("With --bind-protection deny, a bind of it fails with EADDRINUSE, except for "
               "uid 1000, which had a socket there before it became a NodePort."));
  facts.refusable.clear();
  EXPECT_THAT(OnlyWalk(facts).sentence, HasSubstr("and that is not refused: only rules"));
  // A port that is no NodePort is not the guard's business.
  facts.nodeports.clear();
  EXPECT_THAT(OnlyWalk(facts).sentence, Not(HasSubstr("--bind-protection")));
}

}  // namespace
}  // namespace npg::cli::explain_test
