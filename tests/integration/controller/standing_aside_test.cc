// SPDX-License-Identifier: Apache-2.0
// Where rules of the node would break exempted connections, connects go to the Service, as
// without a guard, and none hangs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/status_asserts.h"
#include "testing/stream.h"
#include "testing/taken_ports.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::standing_aside_test {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kPort = 33589;
constexpr const char* kPodName = "pod";

Dial To(Transport transport) { return {"127.0.0.1", kPort, transport}; }

class StandingAsideTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(GuardTest::SetUp());
    node().HurryGuards();
    NPG_ASSERT_OK_AND_ASSIGN(host_, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                          {"127.0.0.1", kPort, Transport::kUdp}}));
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  }

  // Waits until a connect reaches `who`. None may fail meanwhile.
  static void ExpectToReach(const std::string& who, Transport transport) {
    std::string last;
    EXPECT_TRUE(WaitUntil(kPatience,
                          [&] {
                            last = Ask(To(transport));
                            EXPECT_THAT(last, AnyOf(kHost, kPodName)) << TransportName(transport);
                            return last == who || HasFailure();
                          }))
        << TransportName(transport) << " reaches " << last << ", not " << who;
  }

  static absl::Status Nft(const std::string& rules) {
    return RunCommand({"nft", "-f", "-"}, rules).status();
  }

  std::string Output(const std::vector<std::string>& arguments) const {
    const absl::StatusOr<CommandResult> result = RunForResult(GuardCommand(node(), arguments));
    return result.ok() ? result->out : std::string(result.status().message());
  }

  // What the programs have: the traffic for which the guard stands aside.
  abi::TrafficBits Stored() const {
    const absl::StatusOr<abi::Config> config =
        dataplane::ReadConfig(dataplane::PinPaths(node().bpffs()));
    EXPECT_PRED_FORMAT1(IsOk, config);
    return config.ok() ? config->standing_aside : 0;
  }

  // The answers to connects that are made without a pause while the guard starts.
  std::set<std::string> AnswersDuringStart(Transport transport) {
    std::atomic<bool> stop = false;
    std::set<std::string> answers;
    std::thread client([&] {
      while (!stop) answers.insert(Ask(To(transport)));
    });
    NPG_EXPECT_OK(StartGuard());
    stop = true;
    client.join();
    return answers;
  }

  // A firewall that accepts by connection state, and `more` rules before that.
  static absl::Status AddFirewall(const std::string& more = "") {
    return Nft(absl::StrCat("table inet hardened {\n chain in {\n",
                            "  type filter hook input priority filter; policy drop;\n", more, "\n",
                            "  ct state established,related accept\n  ct state invalid drop\n",
                            "  ct state new th dport { ", kPort, ", ", TestNode::kPodPort,
                            " } accept\n  icmp type echo-request accept\n }\n}\n"));
  }

 private:
  std::unique_ptr<EchoServer> host_;
};

TEST_P(StandingAsideTest, WhileARuleSetsAZone) {
  NPG_ASSERT_OK(StartGuard());
  for (const auto& [hook, priority] :
       std::vector<std::pair<std::string, int>>{{"output", -320},
                                                {"output", -300},
                                                {"output", -150},
                                                {"output", 100},
                                                {"postrouting", 0},
                                                {"prerouting", -300}}) {
    SCOPED_TRACE(absl::StrCat(hook, " ", priority));
    ExpectToReach(kHost, Transport::kTcp);
    ExpectToReach(kHost, Transport::kUdp);
    NPG_ASSERT_OK(Nft(absl::StrCat("table inet vrf { chain zones { type filter hook ", hook,
                                   " priority ", priority, "; ct original zone set 7; }; }\n")));
    // Until the next probe, exempted connects meet NAT or get no answer.
    ASSERT_TRUE(WaitUntil(kPatience, [&] { return Stored() != 0; }));
    ASSERT_TRUE(DatagramsAreLeftAlone(kPort));
    ExpectToReach(kPodName, Transport::kTcp);
    ExpectToReach(kPodName, Transport::kUdp);
    EXPECT_GE(Counted(NPG_COUNTER_STANDING_ASIDE), 1U);
    EXPECT_THAT(Output({"status"}),
                AllOf(HasSubstr("stands aside for"), HasSubstr("nft table inet vrf, chain zones")));
    NPG_ASSERT_OK(RunCommand({"nft", "delete", "table", "inet", "vrf"}).status());
    ASSERT_TRUE(WaitUntil(kPatience, [&] { return Stored() == 0; }));
  }
  ExpectToReach(kHost, Transport::kTcp);
  ExpectToReach(kHost, Transport::kUdp);
  EXPECT_THAT(Output({"status"}), Not(HasSubstr("stands aside for")));
  EXPECT_THAT(guard().Log(), AllOf(HasSubstr("in the way: nft table inet vrf, chain zones"),
                                   HasSubstr("again: the self-probe passed")));
}

// From the first connect on, which the guard has not tested anything before.
TEST_P(StandingAsideTest, FromTheStartBehindAFirewallByConnectionState) {
  NPG_ASSERT_OK(AddFirewall());
  EXPECT_THAT(Output({"doctor", "-o", "json"}), HasSubstr("nft table inet hardened, chain in"));
  EXPECT_EQ(Ask(To(Transport::kTcp)), kPodName);
  NPG_ASSERT_OK(StartGuard());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Ask(To(Transport::kTcp)), kPodName);
    EXPECT_EQ(Ask(To(Transport::kUdp)), kPodName);
  }
  EXPECT_THAT(Output({"status"}), HasSubstr("nft insert rule inet hardened in iif lo accept"));
  EXPECT_THAT(Output({"explain", absl::StrCat(kPort)}), HasSubstr("but the guard stands aside"));
  NPG_ASSERT_OK(Nft("insert rule inet hardened in iif lo accept\n"));
  ExpectToReach(kHost, Transport::kTcp);
  ExpectToReach(kHost, Transport::kUdp);
  // Taken away again while the guard works: a connect of that moment may hang until its SYN
  // is sent again.
  NPG_ASSERT_OK(RunCommand({"nft", "flush", "chain", "inet", "hardened", "in"}).status());
  EXPECT_TRUE(WaitUntil(
      kPatience, [&] { return Output({"status"}).find("stands aside for") != std::string::npos; }));
  NPG_ASSERT_OK(RunCommand({"nft", "delete", "table", "inet", "hardened"}).status());
  ExpectToReach(kHost, Transport::kTcp);
}

// A connection that is exempt keeps its mark and its entries.
TEST_P(StandingAsideTest, LiveConnectionsStreamOn) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(std::unique_ptr<Stream> stream, Stream::Open(To(Transport::kTcp)));
  ASSERT_EQ(stream->server(), kHost);
  NPG_ASSERT_OK(stream->Exchange(100'000));
  NPG_ASSERT_OK(AddFirewall(
      absl::StrCat("  tcp dport ", kPort, " accept\n  tcp sport ", kPort, " accept\n")));
  ExpectToReach(kPodName, Transport::kTcp);
  NPG_ASSERT_OK_AND_ASSIGN(const std::string entries,
                           RunCommand({"nft", "list", "set", "inet", "nodeport_guard", "tcp4"}));
  EXPECT_THAT(entries, HasSubstr(absl::StrCat("127.0.0.1 . ", kPort, " . 127.0.0.1 . ",
                                              stream->local_port(), " ")));
  NPG_EXPECT_OK(stream->Exchange(100'000));
  NPG_EXPECT_OK(stream->Finish());
}

TEST_P(StandingAsideTest, OnlyForTheTrafficThatIsBroken) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(
      Nft("table inet odd { chain in { type filter hook input priority 0; "
          "meta l4proto udp ct state untracked drop; }; }\n"));
  EXPECT_TRUE(WaitUntil(kPatience, [&] {
    return Output({"status"}).find("stands aside for UDP over IPv4 and UDP over IPv6") !=
           std::string::npos;
  }));
  EXPECT_THAT(Output({"status"}),
              HasSubstr("nft table inet odd, chain in may drop untracked packets (handle "));
  ExpectToReach(kPodName, Transport::kUdp);
  EXPECT_EQ(Ask(To(Transport::kTcp)), kHost);
  NPG_ASSERT_OK(
      Nft("flush chain inet odd in\n"
          "add rule inet odd in meta nfproto ipv6 ct state untracked drop\n"));
  EXPECT_TRUE(WaitUntil(kPatience, [&] {
    return Output({"status"}).find("stands aside for TCP over IPv6 and UDP over IPv6") !=
           std::string::npos;
  }));
  EXPECT_THAT(Output({"status"}),
              HasSubstr("nft table inet odd, chain in drops untracked packets (handle "));
  ExpectToReach(kHost, Transport::kUdp);
  EXPECT_EQ(Ask(To(Transport::kTcp)), kHost);
}

// A firewall whose output chain accepts lo by connection state only. Rules that may drop packets
// of IPv6 are not in the way of IPv4.
TEST_P(StandingAsideTest, BehindAnOutputChainForOneFamily) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(
      Nft("table ip hardened { chain out { type filter hook output priority 0; policy drop; ct "
          "state new,established,related accept; }; }\n"));
  EXPECT_TRUE(WaitUntil(kPatience, [&] {
    return Output({"status"}).find("stands aside for TCP over IPv4 and UDP over IPv4") !=
           std::string::npos;
  }));
  NPG_ASSERT_OK(
      Nft("table ip6 other { chain in { type filter hook input priority 0; meta mark 7 ct "
          "state untracked drop; }; }\n"));
  EXPECT_THAT(Output({"status"}), AllOf(HasSubstr("nft table ip hardened, chain out"),
                                        HasSubstr("nft insert rule ip hardened out oif lo accept"),
                                        Not(HasSubstr("ip6 other"))));
  ExpectToReach(kPodName, Transport::kTcp);
  NPG_ASSERT_OK(Nft("insert rule ip hardened out oif lo accept\n"));
  ExpectToReach(kHost, Transport::kTcp);
}

TEST_P(StandingAsideTest, NamesTheRuleThatIsLeftWhenOneIsMended) {
  const auto logs = [&](const std::string& text) {
    return WaitUntil(kPatience, [&] { return guard().Log().find(text) != std::string::npos; });
  };
  NPG_ASSERT_OK(
      Nft("table inet first { chain in { type filter hook input priority 0; ct state untracked "
          "drop; }; }\n"
          "table inet second { chain in { type filter hook input priority 1; ct state untracked "
          "drop; }; }\n"));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_TRUE(logs("in the way: nft table inet first, chain in"));
  NPG_ASSERT_OK(RunCommand({"nft", "delete", "table", "inet", "first"}).status());
  EXPECT_TRUE(logs("in the way: nft table inet second, chain in")) << guard().Log();
}

// A restarted controller does not exempt what the one before found broken.
TEST_P(StandingAsideTest, ARestartKeepsIt) {
  NPG_ASSERT_OK(AddFirewall());
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_EQ(Stored(), abi::AllTraffic());
  EXPECT_EQ(Ask(To(Transport::kTcp)), kPodName);
  EXPECT_THAT(AnswersDuringStart(Transport::kTcp), ElementsAre(kPodName));
  EXPECT_EQ(Ask(To(Transport::kTcp)), kPodName);
  EXPECT_EQ(Stored(), abi::AllTraffic());
}

// It stood aside because it knew nothing, which the next run must not take for a finding.
TEST_P(StandingAsideTest, ARunThatEndsBeforeItsFirstProbeLeavesNothingKnown) {
  NPG_ASSERT_OK(AddFirewall());
  {
    const std::vector<std::string> run = {"run", "--source", "file", "--nodeports-file",
                                          node().File("nodeports.json")};
    NPG_ASSERT_OK_AND_ASSIGN(ChildProcess first,
                             ChildProcess::Start(WithCapabilities(GuardCommand(node(), run))));
    // The firewall makes its first probe wait for seconds.
    const dataplane::PinPaths pins(node().bpffs());
    ASSERT_TRUE(WaitUntil(kPatience, [&] {
      const absl::StatusOr<abi::Config> config = dataplane::ReadConfig(pins);
      return config.ok() && config->abi_version != 0;
    })) << first.Err();
    first.Signal(SIGKILL);
    NPG_ASSERT_OK(first.Wait().status());
  }
  EXPECT_EQ(Stored(), abi::AllTraffic() | abi::kUnproven);
  NPG_ASSERT_OK(RunCommand({"nft", "delete", "table", "inet", "hardened"}).status());
  // The next run cannot test UDP over IPv6: all ports for that are taken.
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<base::UniqueFd> taken,
                           TakeUdpPortsOfLoopback6(50'000, 50'199));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Stored(), 0U);
  EXPECT_EQ(Ask(To(Transport::kTcp)), kHost);
}

// Also for a part of the traffic, and with the reason.
TEST_P(StandingAsideTest, ARestartKeepsAPartWithItsText) {
  constexpr const char* kPart = "the guard stands aside for UDP over IPv4 and UDP over IPv6: ";
  const auto logged = [&] { return guard().Log().find(kPart) != std::string::npos; };
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(
      Nft("table inet odd { chain in { type filter hook input priority 0; "
          "meta l4proto udp ct state untracked drop; }; }\n"));
  ASSERT_TRUE(WaitUntil(kPatience, logged));
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_EQ(Stored(), abi::Bit(abi::Traffic::kUdp4) | abi::Bit(abi::Traffic::kUdp6));
  EXPECT_EQ(Ask(To(Transport::kTcp)), kHost);
  EXPECT_EQ(Ask(To(Transport::kUdp)), kPodName);
  // A run that did not know it would stand aside for TCP, too, until its first probe has ended.
  EXPECT_THAT(AnswersDuringStart(Transport::kTcp), ElementsAre(kHost));
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_THAT(AnswersDuringStart(Transport::kUdp), ElementsAre(kPodName));
  EXPECT_EQ(Ask(To(Transport::kTcp)), kHost);
  EXPECT_EQ(Ask(To(Transport::kUdp)), kPodName);
  EXPECT_TRUE(WaitUntil(kPatience, logged)) << guard().Log();
  EXPECT_THAT(Output({"status"}), HasSubstr(kPart));
}

INSTANTIATE_TEST_SUITE_P(Rules, StandingAsideTest, ::testing::Values(RuleShape{}), RuleShapeName);

}  // namespace
}  // namespace npg::testing::standing_aside_test
