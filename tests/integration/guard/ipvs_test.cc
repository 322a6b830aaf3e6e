// SPDX-License-Identifier: Apache-2.0
// IPVS services on loopback addresses, as earlier versions of kube-proxy's ipvs mode made
// them: IPVS takes a packet whether conntrack tracks it or not. The tests fail without
// ip_vs in the kernel and ipvsadm; scripts/kernel-matrix runs them where both exist.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/stream.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::ipvs_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint16_t kServicePort = 33590;  // has no listener
constexpr uint16_t kClientPort = 30101;
constexpr const char* kNodeAddress = "10.244.1.1";

class GuardIpvsTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(GuardTest::SetUp());
    for (const uint16_t port : {kPort, kServicePort, kClientPort}) NPG_ASSERT_OK(AddService(port));
    NPG_ASSERT_OK_AND_ASSIGN(host_, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                          {"127.0.0.1", kPort, Transport::kUdp}}));
    // No rules of kube-proxy: IPVS does what they would do.
    NPG_ASSERT_OK(
        WriteNodePortsFile(node().File("nodeports.json"), NodePorts({kPort, kServicePort})));
  }

  static absl::Status AddService(uint16_t port, const std::string& address = "127.0.0.1") {
    for (const char* protocol : {"-t", "-u"}) {
      const std::string service = absl::StrCat(address, ":", port);
      const auto added = RunCommand({"ipvsadm", "-A", protocol, service, "-s", "rr"});
      if (!added.ok()) return added.status();
      if (!GetParam().endpoint) continue;
      const auto pod = RunCommand({"ipvsadm", "-a", protocol, service, "-r",
                                   absl::StrCat(TestNode::kPod, ":", TestNode::kPodPort), "-m"});
      if (!pod.ok()) return pod.status();
    }
    return absl::OkStatus();
  }

  // The answer where IPVS takes the connect. IPVS sends nothing from a loopback address
  // to a pod, but packets from another address of the node reach the pod. Without an
  // endpoint it drops the packet and sends an ICMP error.
  static std::string Taken(const Dial& dial) {
    if (!GetParam().endpoint) {
      return dial.transport == Transport::kUdp ? "Operation not permitted" : "refused";
    }
    return dial.source.empty() ? "timed out" : "pod";
  }

  struct Way {
    Dial dial;
    std::string taken;
  };
  static std::vector<Way> Ways(uint16_t port) {
    std::vector<Way> ways;
    for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
      for (const std::string source : {"", kNodeAddress}) {
        Dial dial{"127.0.0.1", port, transport};
        dial.source = source;
        ways.push_back({dial, Taken(dial)});
      }
      const Dial mapped{"::ffff:127.0.0.1", port, transport};
      ways.push_back({mapped, Taken(mapped)});
    }
    return ways;
  }

  static std::vector<std::string> Answers(const std::vector<Way>& ways) {
    std::vector<std::function<std::string()>> asks;
    asks.reserve(ways.size());
    for (const Way& way : ways) asks.emplace_back([dial = way.dial] { return Ask(dial); });
    return AskAll(asks);
  }

  static void ExpectTaken(uint16_t port) {
    const std::vector<Way> ways = Ways(port);
    const std::vector<std::string> answers = Answers(ways);
    for (size_t i = 0; i < ways.size(); ++i) {
      EXPECT_EQ(answers[i], ways[i].taken) << ToString(ways[i].dial);
    }
  }

  static void ExpectHost() {
    const std::vector<Way> ways = Ways(kPort);
    const std::vector<std::string> answers = Answers(ways);
    for (size_t i = 0; i < ways.size(); ++i) {
      EXPECT_EQ(answers[i], kHost) << ToString(ways[i].dial);
    }
  }

  // What `status` says of the kernel's table.
  bool Bypasses() const {
    const auto status = RunCommand(GuardCommand(node(), {"status", "-o", "json"}));
    NPG_EXPECT_OK(status);
    return status.ok() && absl::StrContains(*status, "\"ipvs_dodge\": true");
  }

  std::unique_ptr<EchoServer> host_;
};

TEST_P(GuardIpvsTest, RescuesConnectsThatIpvsTakes) {
  ExpectTaken(kPort);
  ExpectTaken(kServicePort);
  EXPECT_NE(AskByDatagram("127.0.0.1", kPort), kHost);
  NPG_ASSERT_OK(StartGuard());
  EXPECT_TRUE(Bypasses());
  ExpectHost();
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
  // Without a listener, the Service still answers.
  ExpectTaken(kServicePort);
}

// The port of the client is a service of IPVS, which would take the replies.
TEST_P(GuardIpvsTest, BulkBothWaysFromAPortThatIsAService) {
  NPG_ASSERT_OK(StartGuard());
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(std::string(TransportName(transport)));
    Dial dial{"127.0.0.1", kPort, transport};
    dial.source = "127.0.0.1";
    dial.source_port = kClientPort;
    NPG_ASSERT_OK_AND_ASSIGN(const auto stream, Stream::Open(dial));
    EXPECT_EQ(stream->server(), kHost);
    NPG_EXPECT_OK(stream->Exchange(4 << 20));
    NPG_EXPECT_OK(stream->Receive(*host_, transport == Transport::kTcp ? 4 << 20 : 60000));
    if (transport == Transport::kTcp) {
      NPG_EXPECT_OK(stream->Finish());
    }
  }
}

TEST_P(GuardIpvsTest, RescuesDespiteTheOtherRulesOfKubeProxy) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  const std::vector<std::string> without = Answers(Ways(kPort));
  for (const std::string& answer : without) EXPECT_NE(answer, kHost);
  NPG_ASSERT_OK(StartGuard());
  const std::vector<Way> ways = Ways(kPort);
  const std::vector<std::string> with = Answers(ways);
  for (size_t i = 0; i < ways.size(); ++i) {
    // With or without the guard, the chain KUBE-FIREWALL drops packets from other
    // addresses to loopback unless they were DNATed.
    if (ways[i].dial.source != kNodeAddress) {
      EXPECT_EQ(with[i], kHost) << ToString(ways[i].dial);
    }
  }
  EXPECT_EQ(Answers(Ways(kServicePort)), without);
}

// As current kube-proxy makes them: on the addresses of the node, not on loopback.
TEST_P(GuardIpvsTest, RescuesOnTheAddressesOfTheNodeWithScopeLocal) {
  NPG_ASSERT_OK(RunCommand({"ipvsadm", "-C"}));
  for (const uint16_t port : {kPort, kServicePort}) NPG_ASSERT_OK(AddService(port, kNodeAddress));
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{kNodeAddress, kPort, Transport::kTcp},
                                                  {kNodeAddress, kPort, Transport::kUdp}}));
  const Dial tcp{kNodeAddress, kPort, Transport::kTcp};
  const Dial udp{kNodeAddress, kPort, Transport::kUdp};
  const auto expect_taken = [&] {
    EXPECT_NE(Ask(tcp), kHost);
    EXPECT_NE(Ask(udp), kHost);
    EXPECT_NE(AskByDatagram(kNodeAddress, kPort), kHost);
  };
  expect_taken();
  NPG_ASSERT_OK(StartGuard());
  EXPECT_FALSE(Bypasses());
  expect_taken();
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  EXPECT_TRUE(Bypasses());
  EXPECT_EQ(Ask(tcp), kHost);
  EXPECT_EQ(Ask(udp), kHost);
  EXPECT_EQ(AskByDatagram(kNodeAddress, kPort), kHost);
  EXPECT_NE(Ask({kNodeAddress, kServicePort, Transport::kTcp}), kHost);
}

TEST_P(GuardIpvsTest, BypassComesAndGoesWithTheServices) {
  NPG_ASSERT_OK(RunCommand({"ipvsadm", "-C"}));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_FALSE(Bypasses());
  ExpectHost();
  NPG_ASSERT_OK(AddService(kPort));
  // The controller looks every ten seconds.
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return Bypasses(); }));
  ExpectHost();
  NPG_ASSERT_OK(RunCommand({"ipvsadm", "-C"}));
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return !Bypasses(); }));
  ExpectHost();
  EXPECT_TRUE(absl::StrContains(guard().Log(), "IPVS has services on guarded addresses"));
  EXPECT_TRUE(absl::StrContains(guard().Log(), "IPVS has no service on a guarded address"));
}

TEST_P(GuardIpvsTest, ConnectionsSurviveARestart) {
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(auto stream, Stream::Open({"127.0.0.1", kPort}));
  ASSERT_EQ(stream->server(), kHost);
  BusyStream busy(std::move(stream));
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_TRUE(Bypasses());
  ExpectHost();
  NPG_ASSERT_OK(StartGuard());
  ExpectHost();
  const uint64_t before = busy.progress();
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return busy.progress() > before; }));
  const auto [stopped, how] = busy.Stop();
  NPG_EXPECT_OK(how);
  NPG_EXPECT_OK(stopped->Finish());
}

INSTANTIATE_TEST_SUITE_P(Services, GuardIpvsTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft, true},
                                           RuleShape{IptablesVariant::kNft, false}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::ipvs_test
