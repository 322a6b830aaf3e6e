// SPDX-License-Identifier: Apache-2.0
// A mark is on every packet of a socket. Where a UDP socket that was connected to a guarded
// listener sends to another destination, with sendto() or after connect(AF_UNSPEC), no program
// runs: the datagram must reach the Service nevertheless.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::udp_mark_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint16_t kServicePort = 33590;
constexpr uint16_t kOrdinaryPort = 33591;
constexpr uint16_t kEndpointPort = 8081;  // of endpoints that are reached over lo
constexpr uint32_t kGuardMark = 0x1000;
// Far below the ten seconds after which the controller looks without a reason.
constexpr absl::Duration kSoon = absl::Seconds(3);

// Ends the connection of a TCP or UDP socket.
absl::Status Disconnect(int fd) {
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  if (connect(fd, &none, sizeof(none)) == 0) return absl::OkStatus();
  return base::ErrnoStatus(errno, "connect AF_UNSPEC");
}

absl::Status SendTo(int fd, const std::string& destination, uint16_t port) {
  const auto address = MakeAddress(destination, port);
  if (!address.ok()) return address.status();
  const char question = '?';
  if (sendto(fd, &question, 1, 0, address->get(), address->size) == 1) return absl::OkStatus();
  return base::ErrnoStatus(errno, "sendto");
}

absl::StatusOr<base::UniqueFd> BoundTo(const std::string& text, uint16_t port) {
  const auto address = MakeAddress(text, port);
  if (!address.ok()) return address.status();
  auto fd = OpenSocket(address->family(), Transport::kUdp);
  if (!fd.ok()) return fd;
  if (bind(fd->get(), address->get(), address->size) == 0) return fd;
  return base::ErrnoStatus(errno, absl::StrCat("bind ", text));
}

class GuardUdpMarkTest : public GuardTest {
 protected:
  // Counts the datagrams that the rules have translated to the pod's address.
  static absl::Status CountToPod() {
    return RunCommand({"nft", "-f", "-"},
                      absl::StrReplaceAll(
                          R"(
      add table inet npg_probe
      delete table inet npg_probe
      table inet npg_probe {
        counter to_pod {
        }
        chain postrouting {
          type filter hook postrouting priority 0;
          ip daddr $pod udp dport $port counter name to_pod
        }
      })",
                          {{"$pod", TestNode::kPod}, {"$port", absl::StrCat(TestNode::kPodPort)}}))
        .status();
  }

  static bool PodReceived() {
    return WaitUntil(kSoon, [] {
      const auto counter = RunCommand({"nft", "list", "counter", "inet", "npg_probe", "to_pod"});
      return counter.ok() && !absl::StrContains(*counter, "packets 0 ");
    });
  }

  // Two Services on every IPv6 address of the node, with an endpoint on `address`, one of them: it
  // is reached over lo.
  absl::StatusOr<std::unique_ptr<EchoServer>> AllocateIpv6(const std::string& address = "::1") {
    NPG_RETURN_IF_ERROR(Allocate({}));
    auto endpoint = EchoServer::Start("pod", {{address, kEndpointPort, Transport::kUdp}});
    if (!endpoint.ok()) return endpoint;
    const std::vector<NodePort> ports = {{kPort, Transport::kUdp, true},
                                         {kServicePort, Transport::kUdp, true}};
    NPG_RETURN_IF_ERROR(ApplyIpv6Rules(GetParam().variant, address, ports, kEndpointPort));
    NPG_RETURN_IF_ERROR(WriteNodePortsFile(node().File("nodeports.json"), ports));
    return endpoint;
  }

  // An error when there is no such set.
  static absl::StatusOr<bool> FindTarget(const std::string& set, const std::string& address) {
    const auto elements = RunCommand({"nft", "list", "set", "inet", "nodeport_guard", set});
    if (!elements.ok()) return elements.status();
    return absl::StrContains(*elements, absl::StrCat(address, " . "));
  }

  // Waits until the table has, or no longer has, the target. Fails the test if the sets cannot be
  // read.
  static bool WaitForTarget(bool present, absl::Duration deadline, const std::string& set,
                            const std::string& address) {
    return WaitUntil(deadline, [&] {
      const absl::StatusOr<bool> found = FindTarget(set, address);
      NPG_EXPECT_OK(found);
      return found.ok() && *found == present;
    });
  }
};

TEST_P(GuardUdpMarkTest, SendtoElsewhereReachesTheService) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kUdp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  for (const char* address : {"127.0.0.1", "::ffff:127.0.0.1"}) {
    for (const bool first : {false, true}) {
      SCOPED_TRACE(absl::StrCat(address, first ? ", before it sends to its peer" : ""));
      NPG_ASSERT_OK(CountToPod());
      NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect({address, kPort, Transport::kUdp}));
      EXPECT_EQ(MarkOf(fd.get()), 0U);
      if (!first) {
        EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
      }
      // A connected socket does not receive the answer.
      NPG_ASSERT_OK(SendTo(fd.get(), address, kServicePort));
      EXPECT_TRUE(PodReceived());
      EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
    }
  }
}

TEST_P(GuardUdpMarkTest, SendtoElsewhereFromAWildcardTarget) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"::", kPort, Transport::kUdp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  for (const char* address : {"127.0.0.1", "127.0.0.5", "::ffff:127.0.0.5"}) {
    SCOPED_TRACE(address);
    NPG_ASSERT_OK(CountToPod());
    NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect({address, kPort, Transport::kUdp}));
    EXPECT_EQ(MarkOf(fd.get()), 0U);
    NPG_ASSERT_OK(SendTo(fd.get(), address, kServicePort));
    EXPECT_TRUE(PodReceived());
    EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
  }
}

TEST_P(GuardUdpMarkTest, DisconnectedSocketReachesTheService) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kUdp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  for (const char* address : {"127.0.0.1", "::ffff:127.0.0.1"}) {
    // A socket that is not bound gets another port by connect(AF_UNSPEC).
    for (const uint16_t source_port : {uint16_t{0}, uint16_t{40001}}) {
      SCOPED_TRACE(absl::StrCat(address, " from port ", source_port));
      const int family = absl::StrContains(address, ':') ? AF_INET6 : AF_INET;
      NPG_ASSERT_OK_AND_ASSIGN(const auto client, DatagramClient::Open(family, "", source_port));
      NPG_ASSERT_OK(ConnectAgain(client.fd(), address, kPort));
      EXPECT_EQ(AskWho(client.fd(), Transport::kUdp), kHost);
      NPG_ASSERT_OK(Disconnect(client.fd()));
      EXPECT_EQ(client.Ask(address, kServicePort), "pod");
      EXPECT_EQ(client.Ask(address, kPort), kHost);
    }
  }
}

TEST_P(GuardUdpMarkTest, Ipv6) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto endpoint, AllocateIpv6());
  for (const char* bound : {"::1", "::"}) {
    SCOPED_TRACE(bound);
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{bound, kPort, Transport::kUdp}}));
    NPG_ASSERT_OK(StartGuard());
    {
      NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect({"::1", kPort, Transport::kUdp}));
      EXPECT_EQ(MarkOf(fd.get()), 0U);
      EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
      const size_t before = endpoint->served(0);
      NPG_ASSERT_OK(SendTo(fd.get(), "::1", kServicePort));
      EXPECT_TRUE(WaitUntil(kSoon, [&] { return endpoint->served(0) > before; }));
    }
    NPG_ASSERT_OK_AND_ASSIGN(const auto client, DatagramClient::Open(AF_INET6));
    NPG_ASSERT_OK(ConnectAgain(client.fd(), "::1", kPort));
    EXPECT_EQ(AskWho(client.fd(), Transport::kUdp), kHost);
    NPG_ASSERT_OK(Disconnect(client.fd()));
    EXPECT_EQ(client.Ask("::1", kServicePort), "pod");
    EXPECT_EQ(client.Ask("::1", kPort), kHost);
    NPG_ASSERT_OK(Unload());
  }
}

// The program marks a socket only where the table does not know the listener: here, because no
// controller runs. A later connect removes the mark, also that of an earlier --mark.
TEST_P(GuardUdpMarkTest, MarksOnlyWhatTheTableDoesNotKnow) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const char* restart : {"--mark=0x1000", "--mark=0x2000"}) {
    for (const char* address : {"127.0.0.1", "::ffff:127.0.0.1"}) {
      for (const uint32_t own : {0x0U, 0x42U}) {
        SCOPED_TRACE(absl::StrCat(restart, " ", address, " ", own));
        NPG_ASSERT_OK(StartGuard());
        NPG_ASSERT_OK(guard().Kill());
        NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kUdp}}));
        Dial dial{address, kPort, Transport::kUdp};
        dial.mark = own;
        NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(dial));
        EXPECT_EQ(MarkOf(fd.get()), own | kGuardMark);
        EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
        NPG_ASSERT_OK(StartGuard({restart}));
        EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
        NPG_ASSERT_OK(ConnectAgain(fd.get(), address, kPort));
        EXPECT_EQ(MarkOf(fd.get()), own);
        EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
      }
    }
  }
}

TEST_P(GuardUdpMarkTest, AChangeOfTheMarkLeavesNoBitBehind) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                                  {"127.0.0.1", kOrdinaryPort, Transport::kTcp},
                                                  {"::1", kPort, Transport::kTcp},
                                                  {"::1", kOrdinaryPort, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const char* address : {"127.0.0.1", "::ffff:127.0.0.1", "::1"}) {
    // The last one has the later bit of its own.
    for (const uint32_t own : {0x0U, 0x42U, 0x2000U}) {
      SCOPED_TRACE(absl::StrCat(address, ", mark of its own ", own));
      NPG_ASSERT_OK(StartGuard({"--mark=0x1000"}));
      Dial dial{address, kPort, Transport::kTcp};
      dial.mark = own;
      NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(dial));
      EXPECT_EQ(MarkOf(fd.get()), own | 0x1000U);
      NPG_ASSERT_OK(guard().Stop());
      NPG_ASSERT_OK(StartGuard({"--mark=0x2000"}));
      NPG_ASSERT_OK(Disconnect(fd.get()));
      NPG_ASSERT_OK(ConnectAgain(fd.get(), address, kPort));
      EXPECT_EQ(MarkOf(fd.get()), own | 0x2000U);
      EXPECT_EQ(AskWho(fd.get(), Transport::kTcp), kHost);
      NPG_ASSERT_OK(Disconnect(fd.get()));
      NPG_ASSERT_OK(ConnectAgain(fd.get(), address, kOrdinaryPort));
      EXPECT_EQ(MarkOf(fd.get()), own);
      NPG_ASSERT_OK(guard().Stop());
    }
  }
}

// Its datagrams are for its peer only: what others send must reach the Service.
TEST_P(GuardUdpMarkTest, AListenerThatConnectsIsNoTarget) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto endpoint, AllocateIpv6());
  NPG_ASSERT_OK(rules().Apply(NodePorts({kPort})));
  for (const bool earlier : {false, true}) {
    SCOPED_TRACE(earlier ? "bound before the guard" : "bound under the guard");
    absl::StatusOr<base::UniqueFd> v4;
    absl::StatusOr<base::UniqueFd> v6;
    const auto bind_both = [&] {
      v4 = BoundTo("127.0.0.1", kPort);
      v6 = BoundTo("::1", kPort);
    };
    if (earlier) bind_both();
    NPG_ASSERT_OK(StartGuard());
    if (!earlier) bind_both();
    NPG_ASSERT_OK(v4);
    NPG_ASSERT_OK(v6);
    ASSERT_TRUE(WaitForTarget(true, kPatience, "targets4", "127.0.0.1"));
    ASSERT_TRUE(WaitForTarget(true, kPatience, "targets6", "::1"));
    NPG_ASSERT_OK(ConnectAgain(v4->get(), "127.0.0.1", kOrdinaryPort));
    EXPECT_TRUE(WaitForTarget(false, kSoon, "targets4", "127.0.0.1"));
    EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), "pod");
    EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kUdp}), "pod");
    NPG_ASSERT_OK(ConnectAgain(v6->get(), "::1", kOrdinaryPort));
    EXPECT_TRUE(WaitForTarget(false, kSoon, "targets6", "::1"));
    EXPECT_EQ(AskByDatagram("::1", kPort), "pod");
    EXPECT_EQ(Ask({"::1", kPort, Transport::kUdp}), "pod");
    NPG_ASSERT_OK(Unload());
  }
}

TEST_P(GuardUdpMarkTest, AListenerThatAsksAServiceInAPod) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServicePort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, DatagramClient::Open(AF_INET, "127.0.0.1", kPort));
  ASSERT_TRUE(WaitForTarget(true, kPatience, "targets4", "127.0.0.1"));
  EXPECT_EQ(listener.Ask("127.0.0.1", kServicePort), "pod");
}

// The answer of an endpoint that is reached over lo has the listener as its destination, like the
// datagrams of its clients, which are exempt. Ask() says so if it comes from the endpoint's address
// and not from that of the Service.
TEST_P(GuardUdpMarkTest, AListenerThatAsksAServiceOverLoopback) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto endpoint, AllocateIpv6());
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto other, DatagramClient::Open(AF_INET6));
  EXPECT_EQ(other.Ask("::1", kServicePort), "pod");
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, DatagramClient::Open(AF_INET6, "::1", kPort));
  ASSERT_TRUE(WaitForTarget(true, kPatience, "targets6", "::1"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(listener.Ask("::1", kServicePort), "pod");

  NPG_ASSERT_OK(ConnectAgain(listener.fd(), "::1", kServicePort));
  ASSERT_TRUE(WaitForTarget(false, kSoon, "targets6", "::1"));
  EXPECT_EQ(AskWho(listener.fd(), Transport::kUdp), "pod");
}

TEST_P(GuardUdpMarkTest, AListenerThatAsksAServiceOverLoopbackByIpv4) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK_AND_ASSIGN(
      const auto endpoint,
      EchoServer::Start("pod", {{"127.0.0.1", kEndpointPort, Transport::kUdp}}));
  NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"},
                           absl::StrReplaceAll(R"(
      table ip npg_service {
        chain output {
          type nat hook output priority -101;
          ip daddr 127.0.0.0/8 udp dport $service dnat to 127.0.0.1:$endpoint
        }
      })",
                                               {{"$service", absl::StrCat(kServicePort)},
                                                {"$endpoint", absl::StrCat(kEndpointPort)}})));
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(AskByDatagram("127.0.0.1", kServicePort), "pod");
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, DatagramClient::Open(AF_INET, "127.0.0.1", kPort));
  ASSERT_TRUE(WaitForTarget(true, kPatience, "targets4", "127.0.0.1"));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(listener.Ask("127.0.0.1", kServicePort), "pod");
  // Its own clients are exempt as before.
  NPG_ASSERT_OK_AND_ASSIGN(const auto client, DatagramClient::Open(AF_INET));
  NPG_ASSERT_OK(SendTo(client.fd(), "127.0.0.1", kPort));
  char question = 0;  // the socket has the timeout of Ask()
  EXPECT_EQ(recv(listener.fd(), &question, 1, 0), 1);
  EXPECT_EQ(question, '?');
}

TEST_P(GuardUdpMarkTest, AListenerThatAsksAServiceOnTheNodesAddress) {
  constexpr const char* kNodeAddress = "2001:db8::9";
  NPG_ASSERT_OK(RunCommand({"ip", "-batch", "-"},
                           absl::StrCat("addr add ", kNodeAddress, "/64 dev pod0 nodad\n")));
  NPG_ASSERT_OK_AND_ASSIGN(const auto endpoint, AllocateIpv6(kNodeAddress));
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener,
                           DatagramClient::Open(AF_INET6, kNodeAddress, kPort));
  ASSERT_TRUE(WaitForTarget(true, kPatience, "targets6", kNodeAddress));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(listener.Ask(kNodeAddress, kServicePort), "pod");
}

// What a Service sends to a client has its NodePort as the source, which is the listener's port,
// too: it is no question of the listener, and the client's next datagram is for the listener.
TEST_P(GuardUdpMarkTest, AnAnswerOfTheServiceKeepsNoClientFromTheListener) {
  constexpr uint16_t kClientPort = 40001;
  NPG_ASSERT_OK_AND_ASSIGN(const auto endpoint, AllocateIpv6());
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto client, DatagramClient::Open(AF_INET6, "::1", kClientPort));
  EXPECT_EQ(client.Ask("::1", kPort), "pod");
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"::1", kPort, Transport::kUdp}}));
  ASSERT_TRUE(WaitForTarget(true, kPatience, "targets6", "::1"));
  NPG_ASSERT_OK(endpoint->Push(kClientPort, "again"));
  char first = 0;  // of the name of the sender
  ASSERT_EQ(recv(client.fd(), &first, 1, 0), 1);
  EXPECT_EQ(first, 'p');
  EXPECT_EQ(client.Ask("::1", kPort), kHost);
}

// Without a mark, the table alone knows that its packets are exempt.
TEST_P(GuardUdpMarkTest, AConnectedClientFollowsTheTable) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kUdp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  // On every kernel, other processes can remove the table.
  NPG_ASSERT_OK(StartGuard({"--nft-owner=off"}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect({"127.0.0.1", kPort, Transport::kUdp}));
  ASSERT_EQ(MarkOf(fd.get()), 0U);
  EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
  NPG_ASSERT_OK(guard().Kill());
  EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
  NPG_ASSERT_OK(StartGuard({"--nft-owner=off"}));
  EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
  EXPECT_EQ(MarkOf(fd.get()), 0U);

  NPG_ASSERT_OK(RunCommand({"nft", "flush", "ruleset"}));
  // Until then there is no set to read.
  ASSERT_TRUE(
      WaitUntil(kPatience, [] { return FindTarget("targets4", "127.0.0.1").value_or(false); }));
  NPG_ASSERT_OK(rules().Apply(NodePorts({kPort})));
  EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), kHost);
  EXPECT_EQ(MarkOf(fd.get()), 0U);

  host->StopListening(kPort);
  ASSERT_TRUE(WaitForTarget(false, kSoon, "targets4", "127.0.0.1"));
  EXPECT_EQ(AskWho(fd.get(), Transport::kUdp), "pod");
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardUdpMarkTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft},
                                           RuleShape{IptablesVariant::kLegacy}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::udp_mark_test
