// SPDX-License-Identifier: Apache-2.0
// --scope local: the node's connects to its own addresses besides loopback.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/kube_proxy_rules.h"
#include "testing/net_namespace.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::local_scope_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint16_t kDbPort = 8081;
constexpr const char* kNodeAddress = "10.244.1.1";
constexpr const char* kOtherAddress = "192.0.2.7";

std::vector<Listen> On(const std::string& address) {
  const Transport stream = Transports().size() > 2 ? Transport::kMptcp : Transport::kTcp;
  return {{address, kPort, stream}, {address, kPort, Transport::kUdp}};
}

absl::Status Ip(const std::string& arguments) {
  return RunCommand({"ip", "-batch", "-"}, arguments + "\n").status();
}

std::vector<WayToAsk> Ways(const std::string& address) {
  std::vector<WayToAsk> ways;
  for (const Transport transport : Transports()) {
    for (const std::string& destination : {address, absl::StrCat("::ffff:", address)}) {
      const Dial dial{destination, kPort, transport};
      ways.push_back({ToString(dial), [dial] { return Ask(dial); }});
    }
  }
  return ways;
}

class GuardLocalScopeTest : public GuardTest {
 protected:
  static void ExpectAll(const std::vector<WayToAsk>& ways, const std::string& expected) {
    std::vector<std::function<std::string()>> asks;
    asks.reserve(ways.size());
    for (const WayToAsk& way : ways) asks.push_back(way.ask);
    const std::vector<std::string> answers = AskAll(asks);
    for (size_t i = 0; i < ways.size(); ++i) EXPECT_EQ(answers[i], expected) << ways[i].name;
  }

  // Hijacked without the guard and with the default scope, rescued with --scope local, for a
  // listener that is bound to `bound`.
  void ExpectRescuedByScopeOnly(const std::string& bound) {
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On(bound)));
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
    ExpectAll(Ways(kNodeAddress), Hijacked());
    EXPECT_EQ(AskByDatagram(kNodeAddress, kPort), Hijacked());
    // The default scope leaves these connects to kube-proxy.
    NPG_ASSERT_OK(StartGuard());
    ExpectAll(Ways(kNodeAddress), Hijacked());
    EXPECT_EQ(AskByDatagram(kNodeAddress, kPort), Hijacked());
    NPG_ASSERT_OK(guard().Stop());

    NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
    ExpectAll(Ways(kNodeAddress), kHost);
    EXPECT_EQ(AskByDatagram(kNodeAddress, kPort), kHost);
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), Ways(kNodeAddress).size());
    EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 0U);
  }

  // The map, as bpftool prints it.
  absl::StatusOr<std::string> LocalAddresses() const {
    return RunCommand(
        {"bpftool", "map", "dump", "pinned", maps().root() + "/maps/local_addresses"});
  }
};

TEST_P(GuardLocalScopeTest, WildcardListener) { ExpectRescuedByScopeOnly("0.0.0.0"); }

TEST_P(GuardLocalScopeTest, WildcardListenerOfBothFamilies) { ExpectRescuedByScopeOnly("::"); }

TEST_P(GuardLocalScopeTest, ListenerOnTheAddress) { ExpectRescuedByScopeOnly(kNodeAddress); }

TEST_P(GuardLocalScopeTest, RescuesOnLoopbackToo) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  ExpectAll(Ways("127.0.0.1"), Hijacked());
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  ExpectAll(Ways("127.0.0.1"), kHost);
  EXPECT_EQ(AskByDatagram("127.0.0.1", kPort), kHost);
}

TEST_P(GuardLocalScopeTest, WithoutListenerTheServiceAnswers) {
  // On loopback only: a connect to the node's address would not reach it.
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("127.0.0.1")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  ExpectAll(Ways(kNodeAddress), Hijacked());
  EXPECT_EQ(AskByDatagram(kNodeAddress, kPort), Hijacked());
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), Ways(kNodeAddress).size());
}

TEST_P(GuardLocalScopeTest, FollowsAddresses) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("0.0.0.0")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  const Dial dial{kOtherAddress, kPort};
  for (int round = 0; round < 2; ++round) {
    SCOPED_TRACE(round);
    NPG_ASSERT_OK(Ip(absl::StrCat("addr add ", kOtherAddress, "/24 dev pod0")));
    EXPECT_TRUE(WaitUntil(kPatience, [&] { return Ask(dial) == kHost; }));
    EXPECT_TRUE(WaitUntil(kPatience, [&] { return AskByDatagram(kOtherAddress, kPort) == kHost; }));
    NPG_ASSERT_OK_AND_ASSIGN(const std::string with, LocalAddresses());
    NPG_ASSERT_OK(Ip(absl::StrCat("addr del ", kOtherAddress, "/24 dev pod0")));
    EXPECT_TRUE(WaitUntil(kPatience, [&] { return LocalAddresses().value_or(with) != with; }))
        << with;
  }
}

// Addresses that kube-proxy's IPVS mode adds to the node belong to Services.
TEST_P(GuardLocalScopeTest, LeavesTheAddressesOfServicesAlone) {
  // kube-proxy makes a dummy device; the guard matches its name only.
  NPG_ASSERT_OK(Ip("link add kube-ipvs0 type veth peer name peer0"));
  NPG_ASSERT_OK(Ip(absl::StrCat("addr add ", kOtherAddress, "/32 dev kube-ipvs0")));
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("0.0.0.0")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  EXPECT_EQ(Ask({kNodeAddress, kPort}), kHost);
  EXPECT_EQ(Ask({kOtherAddress, kPort}), Hijacked());
  EXPECT_EQ(AskByDatagram(kOtherAddress, kPort), Hijacked());
}

// A rule of kube-proxy for a port of a Service on its own address: before the NodePorts.
absl::Status AddServiceAddress(IptablesVariant variant, const std::string& address) {
  const std::string program =
      variant == IptablesVariant::kLegacy ? "iptables-legacy" : "iptables-nft";
  for (const char* protocol : {"tcp", "udp"}) {
    for (const std::vector<std::string>& target : std::vector<std::vector<std::string>>{
             {"DNAT", "--to-destination", absl::StrCat(TestNode::kPod, ":", kDbPort)},
             {"KUBE-MARK-MASQ"}}) {
      std::vector<std::string> command = {
          program, "-w",    "-t", "nat",    "-I",      "KUBE-SERVICES",
          "-d",    address, "-p", protocol, "--dport", absl::StrCat(kPort),
          "-j"};
      command.insert(command.end(), target.begin(), target.end());
      if (const auto added = RunCommand(command); !added.ok()) return added.status();
    }
  }
  return absl::OkStatus();
}

// Other programs put ClusterIPs and VIPs on interfaces. The port of the Service there is also
// the NodePort of another Service, on which a process of the node listens.
TEST_P(GuardLocalScopeTest, AddressesOfServicesReachTheirServices) {
  struct Place {
    std::string address;
    std::string interface;
  };
  const std::vector<Place> places = {{"10.96.7.7", "kube-dummy-if"},  // kube-router
                                     {"192.0.2.77", "lo"},            // kube-vip, BGP
                                     {"10.244.1.77", "pod0"}};        // kube-vip, ARP
  NPG_ASSERT_OK(Ip("link add kube-dummy-if type veth peer name peer0"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto db,
                           EchoServer::Start("db",
                                             {{TestNode::kPod, kDbPort, Transport::kTcp},
                                              {TestNode::kPod, kDbPort, Transport::kUdp}},
                                             &node().pod()));
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("0.0.0.0")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Place& place : places) {
    NPG_ASSERT_OK(Ip(absl::StrCat("addr add ", place.address, "/32 dev ", place.interface)));
    NPG_ASSERT_OK(AddServiceAddress(GetParam().variant, place.address));
    ExpectAll(Ways(place.address), "db");
  }
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  for (const Place& place : places) {
    SCOPED_TRACE(place.interface);
    ExpectAll(Ways(place.address), "db");
    EXPECT_EQ(AskByDatagram(place.address, kPort), "db");
  }
  ExpectAll(Ways(kNodeAddress), kHost);
  ExpectAll(Ways("127.0.0.1"), kHost);
  NPG_ASSERT_OK(guard().Stop());

  NPG_ASSERT_OK(StartGuard({"--scope", "local", "--local-address", "+192.0.2.0/24"}));
  ExpectAll(Ways("192.0.2.77"), kHost);
  ExpectAll(Ways("10.244.1.77"), "db");
  ExpectAll(Ways(kNodeAddress), kHost);
  NPG_ASSERT_OK(guard().Stop());

  NPG_ASSERT_OK(StartGuard({"--scope", "local", "--local-address", "192.0.2.77"}));
  ExpectAll(Ways("192.0.2.77"), kHost);
  ExpectAll(Ways(kNodeAddress), Hijacked());
}

TEST_P(GuardLocalScopeTest, LeavesConnectsToPodsAlone) {
  // The pod listens on a port whose number is also a NodePort.
  NPG_ASSERT_OK_AND_ASSIGN(const auto pod,
                           EchoServer::Start("other", On("0.0.0.0"), &node().pod()));
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("0.0.0.0")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  ExpectAll(Ways(TestNode::kPod), "other");
  EXPECT_EQ(AskByDatagram(TestNode::kPod, kPort), "other");
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
}

TEST_P(GuardLocalScopeTest, LeavesConnectsOfPodsToTheNodeAlone) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("0.0.0.0")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  uint32_t mark = 1;
  NPG_ASSERT_OK(node().pod().Run([&mark] {
    const auto socket = Connect({kNodeAddress, kPort, Transport::kUdp});
    if (socket.ok()) mark = MarkOf(socket->get());
    return socket.status();
  }));
  EXPECT_EQ(mark, 0U);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  EXPECT_EQ(Counted(NPG_COUNTER_FOREIGN_NETNS), 1U);
}

TEST_P(GuardLocalScopeTest, Ipv6) {
  constexpr const char* kAddress = "2001:db8::7";
  NPG_ASSERT_OK(Ip(absl::StrCat("addr add ", kAddress, "/128 dev pod0 nodad")));
  NPG_ASSERT_OK_AND_ASSIGN(const auto elsewhere,
                           EchoServer::Start("pod", {{kAddress, 8081, Transport::kTcp},
                                                     {kAddress, 8081, Transport::kUdp}}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("::")));
  const std::vector<NodePort> ports = NodePorts({kPort});
  NPG_ASSERT_OK(ApplyIpv6Rules(GetParam().variant, kAddress, ports, 8081));
  NPG_ASSERT_OK(WriteNodePortsFile(node().File("nodeports.json"), ports));
  std::vector<WayToAsk> ways;
  for (const Transport transport : Transports()) {
    const Dial dial{kAddress, kPort, transport};
    ways.push_back({ToString(dial), [dial] { return Ask(dial); }});
  }
  ways.push_back({"datagram", [] { return AskByDatagram(kAddress, kPort); }});
  ExpectAll(ways, Hijacked());
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  ExpectAll(ways, kHost);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), Transports().size());
}

// A restart replaces the rules of the table while the connection is open.
TEST_P(GuardLocalScopeTest, ConnectionsSurviveARestart) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(On("0.0.0.0")));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto connection, Connect({kNodeAddress, kPort}));
  EXPECT_EQ(AskWho(connection.get(), Transport::kTcp), kHost);
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--scope", "local"}));
  char echo = 0;
  ASSERT_EQ(write(connection.get(), "x", 1), 1);
  ASSERT_EQ(read(connection.get(), &echo, 1), 1);
  EXPECT_EQ(echo, 'x');
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardLocalScopeTest, ::testing::ValuesIn(RuleShapes()),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::local_scope_test
