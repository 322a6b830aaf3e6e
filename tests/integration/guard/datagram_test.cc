// SPDX-License-Identifier: Apache-2.0
// UDP sockets that never call connect(): no program sees where they send, so
// the controller has to have told the nft table before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::datagram_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kPort = 33589;
constexpr uint16_t kServicePort = 33590;
constexpr std::array<SendCall, 3> kCalls{SendCall::kSendto, SendCall::kSendmsg,
                                         SendCall::kSendmmsg};

std::vector<Listen> On(const std::string& address, uint16_t port = kPort) {
  return {{address, port, Transport::kUdp}};
}

class GuardDatagramTest : public GuardTest {
 protected:
  // What a datagram to the host's listener meets, once the guard had the time
  // to see the socket.
  static bool BecomesHost(const std::string& destination, uint16_t port = kPort) {
    return WaitUntil(kPatience, [&] { return AskByDatagram(destination, port) == kHost; });
  }
  // Elements of a set of the guard's table, as nft prints them.
  static absl::StatusOr<std::string> Elements(const std::string& set) {
    return RunCommand({"nft", "list", "set", "inet", "nodeport_guard", set});
  }
};

TEST_P(GuardDatagramTest, EveryCallIsHijackedThenRescued) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const SendCall call : kCalls) {
    EXPECT_EQ(AskByDatagram("127.0.0.1", kPort, call), Hijacked()) << SendCallName(call);
    EXPECT_EQ(AskByDatagram("::ffff:127.0.0.1", kPort, call), Hijacked()) << SendCallName(call);
  }
  NPG_ASSERT_OK(StartGuard());
  for (const SendCall call : kCalls) {
    EXPECT_EQ(AskByDatagram("127.0.0.1", kPort, call), kHost) << SendCallName(call);
    EXPECT_EQ(AskByDatagram("::ffff:127.0.0.1", kPort, call), kHost) << SendCallName(call);
  }
}

TEST_P(GuardDatagramTest, WildcardListenerOnAnyLoopbackAddress) {
  for (const char* wildcard : {"0.0.0.0", "::"}) {
    SCOPED_TRACE(wildcard);
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On(wildcard)));
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
    for (const char* destination : {"127.0.0.1", "127.0.0.5", "0.0.0.0"}) {
      if (destination != std::string("0.0.0.0")) {
        EXPECT_EQ(AskByDatagram(destination, kPort), Hijacked()) << destination;
      }
    }
    NPG_ASSERT_OK(StartGuard());
    for (const char* destination : {"127.0.0.1", "127.0.0.5", "127.255.255.254"}) {
      EXPECT_EQ(AskByDatagram(destination, kPort), kHost) << destination;
    }
    // A listener on every address is no reason to take over the node's other ones.
    EXPECT_EQ(AskByDatagram("10.244.1.1", kPort), Hijacked());
    NPG_ASSERT_OK(guard().Stop());
    ForgetGuard();
    NPG_ASSERT_OK(RunCommand(GuardCommand(node(), {"unload"})));
  }
}

TEST_P(GuardDatagramTest, Ipv6Loopback) {
  NPG_ASSERT_OK(Allocate({}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto elsewhere,
                           EchoServer::Start("pod", {{"::1", 8081, Transport::kUdp}}));
  for (const char* address : {"::1", "::"}) {
    SCOPED_TRACE(address);
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On(address)));
    const std::vector<NodePort> ports = {{kPort, Transport::kUdp, GetParam().endpoint}};
    NPG_ASSERT_OK(ApplyIpv6LoopbackRules(GetParam().variant, ports, 8081));
    EXPECT_EQ(AskByDatagram("::1", kPort), Hijacked());
    NPG_ASSERT_OK(WriteNodePortsFile(node().File("nodeports.json"), ports));
    NPG_ASSERT_OK(StartGuard());
    EXPECT_EQ(AskByDatagram("::1", kPort), kHost);
    NPG_ASSERT_OK(guard().Stop());
    ForgetGuard();
    NPG_ASSERT_OK(RunCommand(GuardCommand(node(), {"unload"})));
  }
}

TEST_P(GuardDatagramTest, FollowsListenersAsTheyComeAndGo) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), Hijacked()) << "nobody listens";
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    NPG_ASSERT_OK_AND_ASSIGN(auto host, Host(On("127.0.0.1")));
    EXPECT_TRUE(BecomesHost("127.0.0.1"));
    EXPECT_EQ(AskByDatagram("127.0.0.1", kServicePort), Hijacked()) << "nobody listens there";
    host.reset();
    EXPECT_TRUE(DatagramsAreLeftAlone(kPort));
    EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), Hijacked());
    NPG_ASSERT_OK_AND_ASSIGN(const std::string targets, Elements("targets4"));
    EXPECT_THAT(targets, Not(HasSubstr("127.0.0.1")));
  }
}

TEST_P(GuardDatagramTest, FollowsNodePortsAsTheyComeAndGo) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate({}));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost) << "no NodePort";
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  EXPECT_TRUE(BecomesHost("127.0.0.1"));
  NPG_ASSERT_OK(Allocate({}));
  absl::StatusOr<std::string> targets;
  EXPECT_TRUE(WaitUntil(kPatience,
                        [&] {
                          targets = Elements("targets4");
                          return targets.ok() && !absl::StrContains(*targets, "127.0.0.1");
                        }))
      << targets.status() << targets.value_or("");
}

// A socket that holds a port is no victim, from the moment it is bound.
TEST_P(GuardDatagramTest, IgnoredOwner) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard({"--ignore-process", "holder"}));
  prctl(PR_SET_NAME, "holder");
  NPG_ASSERT_OK_AND_ASSIGN(const auto holder, Host(On("0.0.0.0")));
  prctl(PR_SET_NAME, "victim");
  NPG_ASSERT_OK_AND_ASSIGN(const auto victim, Host(On("0.0.0.0", kServicePort)));
  // The one shows that the other was looked at.
  EXPECT_TRUE(BecomesHost("127.0.0.1", kServicePort));
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), Hijacked());
}

TEST_P(GuardDatagramTest, ObservesOnly) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--mode", "observe"}));
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), Hijacked());
}

// The table goes on without the controller, and a new one takes over from it.
TEST_P(GuardDatagramTest, WithoutAController) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
}

// The reply would be DNATed to a pod, or refused, were it tracked.
TEST_P(GuardDatagramTest, ClientWhosePortIsANodePort) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto client,
                           DatagramClient::Open(AF_INET, "127.0.0.1", kServicePort));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.Ask("127.0.0.1", kPort), kHost);
}

// Whoever sends to the service from the very socket that listens is no client of itself.
TEST_P(GuardDatagramTest, OneSocketToHostAndService) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto client, DatagramClient::Open(AF_INET));
  EXPECT_EQ(client.Ask("127.0.0.1", kPort), kHost);
  if (GetParam().endpoint) {
    EXPECT_EQ(client.Ask("127.0.0.1", kServicePort), "pod");
    EXPECT_EQ(client.Ask("127.0.0.1", kPort), kHost);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardDatagramTest, ::testing::ValuesIn(RuleShapesWithDropInvalid()),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::datagram_test
