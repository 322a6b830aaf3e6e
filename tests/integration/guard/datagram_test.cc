// SPDX-License-Identifier: Apache-2.0
// UDP sockets that never call connect(): no program sees where they send, so the
// controller must have entered the listener in the nft table before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/socket_of_fork.h"
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
  // Waits until a datagram reaches the listener of the host: the guard notices the
  // socket with a delay.
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
    // A listener on the wildcard does not exempt the other addresses of the node.
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

TEST_P(GuardDatagramTest, FollowsListeners) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), Hijacked()) << "no listener";
  for (int round = 0; round < 3; ++round) {
    SCOPED_TRACE(round);
    NPG_ASSERT_OK_AND_ASSIGN(auto host, Host(On("127.0.0.1")));
    EXPECT_TRUE(BecomesHost("127.0.0.1"));
    EXPECT_EQ(AskByDatagram("127.0.0.1", kServicePort), Hijacked()) << "no listener there";
    host.reset();
    EXPECT_TRUE(DatagramsAreLeftAlone(kPort));
    EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), Hijacked());
    NPG_ASSERT_OK_AND_ASSIGN(const std::string targets, Elements("targets4"));
    EXPECT_THAT(targets, Not(HasSubstr("127.0.0.1")));
  }
}

TEST_P(GuardDatagramTest, FollowsNodePorts) {
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

// The socket of an ignored process is not exempt, from its bind() on.
TEST_P(GuardDatagramTest, LeavesTheSocketOfAnIgnoredOwnerAlone) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard({"--ignore-process", "holder"}));
  // Of a process of its own: the name of one that has the socket open would be looked up again.
  auto held = SocketOfFork([]() -> absl::StatusOr<base::UniqueFd> {
    prctl(PR_SET_NAME, "holder");
    auto socket = OpenSocket(AF_INET, Transport::kUdp);
    const auto address = MakeAddress("0.0.0.0", kPort);
    if (!socket.ok() || !address.ok()) return absl::InternalError("make a socket or an address");
    if (bind(socket->get(), address->get(), address->size) != 0) {
      return base::ErrnoStatus(errno, "bind");
    }
    return socket;
  });
  NPG_ASSERT_OK(held);
  NPG_ASSERT_OK_AND_ASSIGN(const auto holder,
                           EchoServer::Adopt(kHost, Transport::kUdp, *std::move(held)));
  NPG_ASSERT_OK_AND_ASSIGN(const auto victim, Host(On("0.0.0.0", kServicePort)));
  // Once this one is exempt, the controller has also seen the other.
  EXPECT_TRUE(BecomesHost("127.0.0.1", kServicePort));
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), Hijacked());
}

TEST_P(GuardDatagramTest, ExemptsNothingInObserveMode) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--mode", "observe"}));
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), Hijacked());
}

// The table keeps working without a controller, and the next one adopts it.
TEST_P(GuardDatagramTest, StaysExemptWhileNoControllerRuns) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
}

// If conntrack saw the reply, it would be DNATed to a pod, or refused.
TEST_P(GuardDatagramTest, ClientWhosePortIsANodePort) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto client,
                           DatagramClient::Open(AF_INET, "127.0.0.1", kServicePort));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.Ask("127.0.0.1", kPort), kHost);
}

// An exempt datagram does not exempt the datagrams of the same socket to a Service.
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
