// SPDX-License-Identifier: Apache-2.0
// Connects that the guard must leave alone: without a listener of the host to rescue,
// localhost:NodePort reaches its Service.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/errno_status.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/kube_proxy_rules.h"
#include "testing/net_namespace.h"
#include "testing/status_asserts.h"
#include "testing/test_cgroup.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::testing::untouched_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint32_t kGuardMark = 0x1000;

const Dial& Tcp() {
  static const Dial dial{"127.0.0.1", kPort, Transport::kTcp};
  return dial;
}

const Dial& Udp() {
  static const Dial dial{"127.0.0.1", kPort, Transport::kUdp};
  return dial;
}

std::vector<Listen> OnPort(uint16_t port) {
  return {{"127.0.0.1", port, Transport::kTcp}, {"127.0.0.1", port, Transport::kUdp}};
}

class GuardUntouchedTest : public GuardTest {
 protected:
  static void ExpectAnswers(const std::string& expected) {
    const std::vector<std::string> answers =
        AskAll({[] { return Ask(Tcp()); }, [] { return Ask(Udp()); }});
    EXPECT_EQ(answers[0], expected) << "TCP";
    EXPECT_EQ(answers[1], expected) << "UDP";
  }
};

TEST_P(GuardUntouchedTest, NoListener) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  ExpectAnswers(Hijacked());
  EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 2U);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
}

TEST_P(GuardUntouchedTest, ListenerClosedAMomentAgo) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  for (int round = 0; round < 3; ++round) {
    NPG_ASSERT_OK_AND_ASSIGN(auto host, Host(OnPort(kPort)));
    ExpectAnswers(kHost);
    // An open connection of the closed listener does not count as a listener.
    NPG_ASSERT_OK_AND_ASSIGN(const auto connection, Connect(Tcp()));
    EXPECT_EQ(AskWho(connection.get(), Transport::kTcp), kHost);
    host->StopListening();
    EXPECT_EQ(Ask(Tcp()), Hijacked()) << "at once";
    EXPECT_TRUE(DatagramsAreLeftAlone(kPort));
    ExpectAnswers(Hijacked());
    host.reset();
    ExpectAnswers(Hijacked());
  }
}

// The same, for a client port that was exempted a moment ago.
TEST_P(GuardUntouchedTest, ListenerClosedAndClientPortUsedAgain) {
  NPG_ASSERT_OK_AND_ASSIGN(auto host, Host(OnPort(kPort)));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  Dial dial = Tcp();
  dial.source = "127.0.0.1";
  dial.source_port = 40001;
  {
    NPG_ASSERT_OK_AND_ASSIGN(const auto connection, Connect(dial));
    EXPECT_EQ(AskWho(connection.get(), dial.transport), kHost);
    // Reset, so that no TIME_WAIT keeps the port from being used again.
    const linger now{1, 0};
    ASSERT_EQ(setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
  }
  host.reset();
  EXPECT_EQ(Ask(dial), Hijacked());
}

TEST_P(GuardUntouchedTest, UdpSocketConnectedAgainElsewhereLosesTheMark) {
  constexpr uint16_t kServicePort = 33590;
  constexpr uint16_t kOrdinaryPort = 33591;
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  // The programs mark a UDP socket only if no controller has entered its destination.
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kUdp},
                                                  {"127.0.0.1", kOrdinaryPort, Transport::kUdp}}));
  for (const char* address : {"127.0.0.1", "::ffff:127.0.0.1"}) {
    for (const uint32_t own : {0x0U, 0x42U, 0x42U | kGuardMark}) {
      SCOPED_TRACE(::testing::Message() << address << ", mark of its own " << own);
      Dial dial{address, kPort, Transport::kUdp};
      dial.mark = own;
      NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(dial));
      EXPECT_EQ(MarkOf(fd.get()), own | kGuardMark);
      EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);

      NPG_ASSERT_OK(ConnectAgain(fd.get(), address, kServicePort));
      EXPECT_EQ(MarkOf(fd.get()), own) << "the guard clears its bit and keeps the client's mark";
      // A client that sets the bit itself stays exempt.
      const std::string expected = (own & kGuardMark) != 0 ? "refused" : Hijacked();
      EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), expected);

      NPG_ASSERT_OK(ConnectAgain(fd.get(), address, kPort));
      EXPECT_EQ(MarkOf(fd.get()), own | kGuardMark);
      EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
      NPG_ASSERT_OK(ConnectAgain(fd.get(), address, kOrdinaryPort));
      EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
    }
  }
}

// For other sockets the programs return right after the check of the address.
TEST_P(GuardUntouchedTest, UdpSocketConnectedAgainBeyondLoopbackLosesTheMark) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(OnPort(kPort)));
  struct Way {
    const char* near;
    const char* far;
  };
  for (const Way& way : {Way{"127.0.0.1", "10.244.1.1"}, Way{"127.0.0.1", "10.244.1.2"},
                         Way{"::ffff:127.0.0.1", "::ffff:10.244.1.1"}}) {
    for (const uint32_t own : {0x0U, 0x42U}) {
      SCOPED_TRACE(::testing::Message() << way.far << ", mark of its own " << own);
      Dial dial{way.near, kPort, Transport::kUdp};
      dial.mark = own;
      NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(dial));
      EXPECT_EQ(MarkOf(fd.get()), own | kGuardMark);
      NPG_ASSERT_OK(ConnectAgain(fd.get(), way.far, kPort));
      EXPECT_EQ(MarkOf(fd.get()), own);
    }
  }
}

// The second connect has the same destination, and the socket keeps its source port.
TEST_P(GuardUntouchedTest, UdpSocketConnectedAgainAfterTheListenerClosed) {
  NPG_ASSERT_OK_AND_ASSIGN(auto host, Host(OnPort(kPort)));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(Udp()));
  EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
  host.reset();
  EXPECT_TRUE(DatagramsAreLeftAlone(kPort));
  NPG_ASSERT_OK(ConnectAgain(fd.get(), "127.0.0.1", kPort));
  EXPECT_EQ(MarkOf(fd.get()), 0U);
  EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), Hijacked());
}

TEST_P(GuardUntouchedTest, OtherNetworkNamespace) {
  static constexpr const char* kTarget = "10.9.9.9";
  static constexpr uint16_t kTargetPort = 8080;
  // The same cgroup, but the loopback of a pod, with rules that redirect the port from one
  // of its sockets to another.
  NPG_ASSERT_OK_AND_ASSIGN(const NetNamespace other, NetNamespace::Create());
  NPG_ASSERT_OK(other.Run([] {
    const auto added = RunCommand({"ip", "addr", "add", kTarget, "dev", "lo"});
    NPG_RETURN_IF_ERROR(added.status());
    NPG_RETURN_IF_ERROR(SetSysctl("net/ipv4/conf/all/route_localnet", "1"));
    return KubeProxyRules(GetParam().variant, kTarget, kTargetPort).Apply(NodePorts({kPort}));
  }));
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener,
                           EchoServer::Start("its own", OnPort(kPort), &other));
  NPG_ASSERT_OK_AND_ASSIGN(
      const auto target,
      EchoServer::Start(
          "pod", {{kTarget, kTargetPort, Transport::kTcp}, {kTarget, kTargetPort, Transport::kUdp}},
          &other));

  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(OnPort(kPort)));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  ExpectAnswers(kHost);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 2U);
  NPG_ASSERT_OK(other.Run([] {
    for (const Dial& dial : {Tcp(), Udp()}) {
      // The connect fails where the rules reject it.
      const auto fd = Connect(dial);
      if (fd.ok()) {
        EXPECT_EQ(MarkOf(fd->get()), 0U);
      }
    }
    ExpectAnswers(Hijacked());
    return absl::OkStatus();
  }));
  EXPECT_EQ(Counted(NPG_COUNTER_FOREIGN_NETNS), 4U);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 0U);
}

TEST_P(GuardUntouchedTest, ProcessOutsideTheCgroup) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(OnPort(kPort)));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  const std::string outside = std::filesystem::path(node().cgroup().path()).parent_path();
  NPG_ASSERT_OK_AND_ASSIGN(const std::string answer, RunInFork([&outside]() -> std::string {
                             const absl::Status moved = TestCgroup::Enter(outside);
                             return moved.ok() ? Ask(Tcp()) : moved.ToString();
                           }));
  EXPECT_EQ(answer, Hijacked());
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
}

TEST_P(GuardUntouchedTest, NodePortFreed) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(OnPort(kPort)));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kPort + 1})));
  NPG_ASSERT_OK(StartGuard());
  ExpectAnswers(kHost);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 2U);
  NPG_ASSERT_OK(Allocate(NodePorts({kPort + 1})));
  ExpectAnswers(kHost);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(Tcp()));
  EXPECT_EQ(MarkOf(fd.get()), 0U);
}

TEST_P(GuardUntouchedTest, UdpNodePortWithTcpListenerOnly) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate({{kPort, Transport::kUdp, GetParam().endpoint}}));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask(Udp()), Hijacked());
  EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 1U);
  EXPECT_EQ(Ask(Tcp()), kHost) << "its TCP number is no NodePort";
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);

  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  EXPECT_EQ(Ask(Udp()), Hijacked());
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  EXPECT_EQ(Ask(Tcp()), kHost);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 1U);
}

TEST_P(GuardUntouchedTest, TcpNodePortWithUdpListenerOnly) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kUdp}}));
  NPG_ASSERT_OK(Allocate({{kPort, Transport::kTcp, GetParam().endpoint}}));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask(Tcp()), Hijacked());
  EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 1U);
  EXPECT_EQ(Ask(Udp()), kHost);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
}

TEST_P(GuardUntouchedTest, ObserveModeOnlyCounts) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(OnPort(kPort)));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--mode", "observe"}));
  ExpectAnswers(Hijacked());
  EXPECT_EQ(Counted(NPG_COUNTER_OBSERVED), 2U);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    NPG_ASSERT_OK_AND_ASSIGN(const auto stats, maps().Stats(kPort, transport));
    ASSERT_TRUE(stats.has_value());
    EXPECT_EQ(stats->observed, 1U);
    EXPECT_EQ(stats->exempted, 0U);
  }
  Dial marked = Udp();
  marked.mark = 0x42;
  NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(marked));
  EXPECT_EQ(MarkOf(fd.get()), 0x42U);

  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--mode", "enforce"}));
  ExpectAnswers(kHost);
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--mode", "observe"}));
  ExpectAnswers(Hijacked());
}

TEST_P(GuardUntouchedTest, PortThatIsNoNodePortChangesNoMap) {
  constexpr uint16_t kOrdinaryPort = 33590;
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const std::string before, maps().Everything());
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kOrdinaryPort, Transport::kTcp},
                                                  {"127.0.0.1", kOrdinaryPort, Transport::kUdp},
                                                  {"::", kOrdinaryPort + 1, Transport::kMptcp}}));
  for (const char* destination : {"127.0.0.1", "::ffff:127.0.0.1"}) {
    for (const Transport transport : {Transport::kTcp, Transport::kUdp, Transport::kMptcp}) {
      Dial dial{destination, kOrdinaryPort, transport};
      dial.mark = 0x42;
      SCOPED_TRACE(ToString(dial));
      NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(dial));
      EXPECT_EQ(AskWho(fd.get(), transport), kHost);
      EXPECT_EQ(MarkOf(fd.get()), 0x42U);
    }
  }
  EXPECT_EQ(Ask({"::1", kOrdinaryPort + 1, Transport::kTcp}), kHost);
  EXPECT_EQ(Ask({"127.0.0.1", 1, Transport::kTcp}), "refused");
  // The same for the number of a NodePort on an address that is not loopback.
  EXPECT_EQ(Ask({TestNode::kPod, TestNode::kPodPort, Transport::kTcp}), "pod");
  EXPECT_EQ(Ask({"10.244.1.1", kPort, Transport::kTcp}), Hijacked());
  EXPECT_EQ(Ask({"10.244.1.1", kPort, Transport::kUdp}), Hijacked());
  NPG_ASSERT_OK_AND_ASSIGN(const std::string after, maps().Everything());
  EXPECT_EQ(after, before);
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardUntouchedTest, ::testing::ValuesIn(RuleShapes()),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::untouched_test
