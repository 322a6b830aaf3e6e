// SPDX-License-Identifier: Apache-2.0
// Outgoing connections of a node with kube-proxy's ipvs mode: if the kernel chooses a NodePort as
// the source port, IPVS takes the reply for a new connection to that NodePort, and sends it to a
// backend. The tests fail without ip_vs in the kernel and ipvsadm; scripts/kernel-matrix runs them
// where both exist.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "guard_abi.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/net_namespace.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::ipvs_source_port_test {
namespace {

// The kernel prefers ports with the parity of the first one for connect().
constexpr uint16_t kFirst = 30080, kLast = 30087;
constexpr uint16_t kPort = 30082;
constexpr uint16_t kOtherPort = 30084;
constexpr int kTries = 20 * (kLast - kFirst + 1);
constexpr const char* kNodeAddress = "192.0.2.1";
constexpr const char* kPeerAddress = "192.0.2.2";
constexpr uint16_t kPeerPort = 5000;
constexpr const char* kPeer = "peer";
constexpr const char* kTimedOut = "timed out";
// How long a connect from kPort is given: with IPVS it gets no answer. The SYN is repeated several
// times in it.
constexpr absl::Duration kLimit = absl::Seconds(3);

// A connection to the peer, and its source port.
struct Outcome {
  uint16_t port = 0;
  std::string answer;  // kPeer, or why there was none
};

// Waits for the greeting of the peer.
std::string Greeting(int fd, absl::Duration limit) {
  pollfd ready{fd, POLLIN, 0};
  if (poll(&ready, 1, static_cast<int>(absl::ToInt64Milliseconds(limit))) == 0) return kTimedOut;
  std::array<char, 64> buffer{};
  const ssize_t size = recv(fd, buffer.data(), buffer.size(), 0);
  if (size < 0) return base::ErrnoStatus(errno, "recv").ToString();
  const absl::string_view text(buffer.data(), static_cast<size_t>(size));
  return std::string(text.substr(0, text.find('\n')));
}

// Connects to the peer from `source_port` (0: the kernel chooses). Waits for the answer as long as
// all tests do, but `limit_from_port` if the source port is kPort.
absl::StatusOr<Outcome> Reach(Transport transport, uint16_t source_port = 0,
                              absl::Duration limit_from_port = kLimit) {
  const auto address = MakeAddress(kPeerAddress, kPeerPort);
  if (!address.ok()) return address.status();
  const auto fd = OpenSocket(AF_INET, transport);
  if (!fd.ok()) return fd.status();
  // A close without TIME_WAIT leaves the port to the next connect.
  const linger reset{1, 0};
  setsockopt(fd->get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  if (source_port != 0) {
    const auto source = MakeAddress("0.0.0.0", source_port);
    if (!source.ok()) return source.status();
    if (bind(fd->get(), source->get(), source->size) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("bind port ", source_port));
    }
  }
  if (fcntl(fd->get(), F_SETFL, O_NONBLOCK) != 0) return base::ErrnoStatus(errno, "O_NONBLOCK");
  if (connect(fd->get(), address->get(), address->size) != 0 && errno != EINPROGRESS) {
    return base::ErrnoStatus(errno, "connect");
  }
  if (transport == Transport::kUdp && send(fd->get(), "?", 1, MSG_NOSIGNAL) != 1) {
    return base::ErrnoStatus(errno, "send");
  }
  const uint16_t port = LocalPort(fd->get());
  return Outcome{port, Greeting(fd->get(), port == kPort ? limit_from_port : kPatience)};
}

class GuardIpvsSourcePortTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(GuardTest::SetUp());
    NPG_ASSERT_OK(ConnectPeer());
    NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", absl::StrCat(kFirst, " ", kLast)));
    // As kube-proxy sets it.
    NPG_ASSERT_OK(SetSysctl("net/ipv4/vs/conntrack", "1"));
    NPG_ASSERT_OK(WriteNodePortsFile(node().File("nodeports.json"), NodePorts({kPort})));
  }

  // As current kube-proxy makes it, on the address of the node. Nothing listens on the port of the
  // backend: two echo servers would answer each other for ever.
  static absl::Status AddService() {
    for (const char* protocol : {"-t", "-u"}) {
      const std::string service = absl::StrCat(kNodeAddress, ":", kPort);
      const auto added = RunCommand({"ipvsadm", "-A", protocol, service, "-s", "rr"});
      if (!added.ok()) return added.status();
      if (!GetParam().endpoint) continue;
      const auto pod =
          RunCommand({"ipvsadm", "-a", protocol, service, "-r",
                      absl::StrCat(TestNode::kPod, ":", TestNode::kPodPort + 1), "-m"});
      if (!pod.ok()) return pod.status();
    }
    return absl::OkStatus();
  }

  // Whether IPVS has a connection from the peer to the NodePort, which no one has made.
  static bool IpvsHasTakenAReply(Transport transport) {
    const auto table = RunCommand({"ipvsadm", "-Lcn"});
    NPG_EXPECT_OK(table);
    if (!table.ok()) return false;
    for (const absl::string_view line : absl::StrSplit(*table, '\n')) {
      if (absl::StartsWith(line, TransportName(transport)) &&
          absl::StrContains(line, absl::StrCat(kPeerAddress, ":", kPeerPort)) &&
          absl::StrContains(line, absl::StrCat(kNodeAddress, ":", kPort))) {
        return true;
      }
    }
    return false;
  }

  // Connects until the kernel has chosen the NodePort, and expects no answer to that connection
  // and an answer to all others.
  static void ExpectTaken(Transport transport) {
    std::optional<Outcome> hit;
    for (int i = 0; i < kTries && !hit; ++i) {
      NPG_ASSERT_OK_AND_ASSIGN(const Outcome outcome, Reach(transport));
      if (outcome.port == kPort) {
        hit = outcome;
      } else {
        ASSERT_EQ(outcome.answer, kPeer) << "from port " << outcome.port;
      }
    }
    ASSERT_TRUE(hit.has_value()) << "the kernel did not choose the port in " << kTries << " tries";
    EXPECT_EQ(hit->answer, kTimedOut);
    if (GetParam().endpoint) {
      EXPECT_TRUE(IpvsHasTakenAReply(transport));
    }
  }

  // The same number of connections: the kernel never chooses the NodePort, and all get an answer.
  static void ExpectNever(Transport transport) {
    for (int i = 0; i < kTries; ++i) {
      NPG_ASSERT_OK_AND_ASSIGN(const Outcome outcome, Reach(transport));
      ASSERT_NE(outcome.port, kPort);
      ASSERT_GE(outcome.port, kFirst);
      ASSERT_LE(outcome.port, kLast);
      ASSERT_EQ(outcome.answer, kPeer) << "from port " << outcome.port;
    }
  }

  static bool IsReserved() {
    std::ifstream file("/proc/sys/net/ipv4/ip_local_reserved_ports");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    return text == absl::StrCat(kPort, "\n");
  }

 private:
  absl::Status ConnectPeer() {
    auto peer = NetNamespace::Create();
    if (!peer.ok()) return peer.status();
    peer_.emplace(*std::move(peer));
    const std::string node_side =
        absl::StrCat("link add peer0 type veth peer name eth0 netns ", peer_->Path(), "\naddr add ",
                     kNodeAddress, "/24 dev peer0\nlink set peer0 up\n");
    const auto made = RunCommand({"ip", "-batch", "-"}, node_side);
    if (!made.ok()) return made.status();
    absl::Status up = peer_->Run([] {
      return RunCommand({"ip", "-batch", "-"},
                        absl::StrCat("addr add ", kPeerAddress, "/24 dev eth0\nlink set eth0 up\n"))
          .status();
    });
    if (!up.ok()) return up;
    auto server = EchoServer::Start(
        kPeer,
        {{kPeerAddress, kPeerPort, Transport::kTcp}, {kPeerAddress, kPeerPort, Transport::kUdp}},
        &*peer_);
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    return absl::OkStatus();
  }

  std::optional<NetNamespace> peer_;
  std::unique_ptr<EchoServer> server_;
};

TEST_P(GuardIpvsSourcePortTest, ReservedNodePortsAreNotChosen) {
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK_AND_ASSIGN(const Outcome without, Reach(transport, kPort, kPatience));
    EXPECT_EQ(without.answer, kPeer) << "without IPVS";
  }
  NPG_ASSERT_OK(AddService());
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(TransportName(transport));
    ASSERT_NO_FATAL_FAILURE(ExpectTaken(transport));
  }
  NPG_ASSERT_OK(StartGuard({"--reserve-ports", "allocated"}));
  EXPECT_TRUE(IsReserved());
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(TransportName(transport));
    ASSERT_NO_FATAL_FAILURE(ExpectNever(transport));
  }
  // It was the guard that ended it.
  NPG_ASSERT_OK(Unload());
  ASSERT_NO_FATAL_FAILURE(ExpectTaken(Transport::kTcp));
}

// Reserved ports do not prevent that, but --bind-protection deny does.
TEST_P(GuardIpvsSourcePortTest, AProcessMayStillAskForTheNodePort) {
  NPG_ASSERT_OK(AddService());
  NPG_ASSERT_OK(StartGuard({"--reserve-ports", "allocated"}));
  EXPECT_TRUE(IsReserved());
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK_AND_ASSIGN(const Outcome outcome, Reach(transport, kPort));
    EXPECT_EQ(outcome.answer, kTimedOut);
    NPG_ASSERT_OK_AND_ASSIGN(const Outcome other, Reach(transport, kOtherPort));
    EXPECT_EQ(other.answer, kPeer);
  }
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--bind-protection", "deny"}));
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(TransportName(transport));
    const auto refused = Reach(transport, kPort);
    EXPECT_TRUE(absl::StrContains(refused.status().message(), absl::StrCat("bind port ", kPort)))
        << refused.status();
    EXPECT_EQ(Counted(NPG_COUNTER_BIND_REFUSED), 1U);
    NPG_ASSERT_OK_AND_ASSIGN(const Outcome other, Reach(transport, kOtherPort));
    EXPECT_EQ(other.answer, kPeer);
  }
}

// Masquerading does not skip reserved ports. But conntrack restores the port of the socket in the
// reply before IPVS sees it, so only the port of the socket matters.
TEST_P(GuardIpvsSourcePortTest, AMasqueradedSourcePortIsNotTaken) {
  NPG_ASSERT_OK(AddService());
  const auto masquerade_to = [](uint16_t port) {
    return RunCommand(
        {"nft", "-f", "-"},
        absl::StrCat("add table ip of_test\n"
                     "delete table ip of_test\n"
                     "table ip of_test {\n"
                     "  chain postrouting {\n"
                     "    type nat hook postrouting priority srcnat\n"
                     "    ip daddr ",
                     kPeerAddress, " meta l4proto { tcp, udp } counter masquerade to :", port,
                     "\n  }\n}\n"));
  };
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(masquerade_to(kPort));
    NPG_ASSERT_OK_AND_ASSIGN(const Outcome to, Reach(transport, kOtherPort));
    EXPECT_EQ(to.answer, kPeer);
    NPG_ASSERT_OK_AND_ASSIGN(const std::string table,
                             RunCommand({"nft", "list", "table", "ip", "of_test"}));
    EXPECT_FALSE(absl::StrContains(table, "packets 0")) << table;
    NPG_ASSERT_OK(masquerade_to(kOtherPort));
    NPG_ASSERT_OK_AND_ASSIGN(const Outcome from, Reach(transport, kPort));
    EXPECT_NE(from.answer, kPeer);
  }
}

INSTANTIATE_TEST_SUITE_P(Services, GuardIpvsSourcePortTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft, true},
                                           RuleShape{IptablesVariant::kNft, false}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::ipvs_source_port_test
