// SPDX-License-Identifier: Apache-2.0
#include "node/sock_diag.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "core/accept_queue.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "core/listener.h"
#include "core/port.h"
#include "integration/dataplane/nft_fixture.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::node::sock_diag_test {
namespace {

using core::Flow;
using dataplane::Pair;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::Transport;

uint64_t InodeOf(int fd) {
  struct stat info {};
  fstat(fd, &info);
  return info.st_ino;
}

std::string Text(const core::Listener& listener) {
  return absl::StrCat(core::ToString(listener.key), " ", core::AddressText(listener.address),
                      listener.v6only ? " v6only" : "", listener.ifindex != 0 ? " device" : "");
}

class SockDiagTest : public dataplane::NftTest {
 protected:
  static std::vector<std::string> Listeners() {
    const auto listeners = ListListeners();
    NPG_EXPECT_OK(listeners);
    std::vector<std::string> texts;
    if (listeners.ok()) {
      for (const core::Listener& listener : *listeners) texts.push_back(Text(listener));
    }
    return texts;
  }

  static std::vector<Flow> Marked() {
    auto flows = ListMarkedFlows({});
    NPG_EXPECT_OK(flows);
    return flows.ok() ? *std::move(flows) : std::vector<Flow>();
  }

  static std::vector<Flow> Connections() {
    auto flows = ListLocalFlows();
    NPG_EXPECT_OK(flows);
    return flows.ok() ? *std::move(flows) : std::vector<Flow>();
  }

  static Flow Turned(Flow flow) {
    std::swap(flow.client_address, flow.server_address);
    std::swap(flow.client_port, flow.server_port);
    return flow;
  }

  static testing::Dial Dial(const std::string& destination, Transport transport = Transport::kTcp) {
    testing::Dial dial{destination, kPort, transport};
    dial.mark = kMark | 0x8;
    return dial;
  }
};

TEST_F(SockDiagTest, FindsNothingInAnEmptyNamespace) {
  EXPECT_THAT(Listeners(), IsEmpty());
  EXPECT_THAT(Marked(), IsEmpty());
  EXPECT_THAT(Connections(), IsEmpty());
}

TEST_F(SockDiagTest, FindsListenersOfEveryKind) {
  struct Kind {
    const char* address;
    uint16_t port;
    Transport transport;
  };
  std::vector<base::UniqueFd> sockets;
  for (const Kind& kind :
       {Kind{"127.0.0.1", 1001, Transport::kTcp}, Kind{"0.0.0.0", 1002, Transport::kTcp},
        Kind{"::1", 1003, Transport::kTcp}, Kind{"::", 1004, Transport::kTcp},
        Kind{"::ffff:127.0.0.5", 1005, Transport::kTcp}, Kind{"127.0.0.1", 1001, Transport::kUdp},
        Kind{"::", 1004, Transport::kUdp}}) {
    NPG_ASSERT_OK_AND_ASSIGN(auto socket, Listening(kind.address, kind.port, kind.transport));
    sockets.push_back(std::move(socket));
  }
  EXPECT_THAT(Listeners(), ElementsAre("1001/tcp 127.0.0.1", "1001/udp 127.0.0.1",
                                       "1002/tcp 0.0.0.0", "1003/tcp [::1] v6only", "1004/tcp [::]",
                                       "1004/udp [::]", "1005/tcp 127.0.0.5"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto listeners, ListListeners());
  EXPECT_EQ(listeners[0].inode, InodeOf(sockets[0].get()));
  EXPECT_EQ(listeners[0].uid, 0U);
  EXPECT_EQ(listeners[0].owner.pid, 0);
}

TEST_F(SockDiagTest, ReportsV6OnlyAndDevice) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto v6only, testing::OpenSocket(AF_INET6, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(const auto device, testing::OpenSocket(AF_INET, Transport::kUdp));
  const int on = 1;
  ASSERT_EQ(setsockopt(v6only.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
  ASSERT_EQ(setsockopt(device.get(), SOL_SOCKET, SO_BINDTODEVICE, "lo", 2), 0);
  NPG_ASSERT_OK_AND_ASSIGN(auto address, testing::MakeAddress("::", 1001));
  ASSERT_EQ(bind(v6only.get(), address.get(), address.size), 0);
  ASSERT_EQ(listen(v6only.get(), 1), 0);
  NPG_ASSERT_OK_AND_ASSIGN(address, testing::MakeAddress("0.0.0.0", 1002));
  ASSERT_EQ(bind(device.get(), address.get(), address.size), 0);
  EXPECT_THAT(Listeners(), ElementsAre("1001/tcp [::] v6only", "1002/udp 0.0.0.0 device"));
}

TEST_F(SockDiagTest, IgnoresBoundTcpAndConnectedUdpSockets) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto tcp, testing::OpenSocket(AF_INET, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(const auto unbound, testing::OpenSocket(AF_INET, Transport::kUdp));
  NPG_ASSERT_OK_AND_ASSIGN(const auto address, testing::MakeAddress("127.0.0.1", 1001));
  ASSERT_EQ(bind(tcp.get(), address.get(), address.size), 0);
  NPG_ASSERT_OK_AND_ASSIGN(const auto connected,
                           testing::Connect(Dial("127.0.0.1", Transport::kUdp)));
  EXPECT_THAT(Listeners(), IsEmpty());
}

TEST_F(SockDiagTest, ListsEachSocketOfAReusePortGroupOnce) {
  std::vector<base::UniqueFd> sockets;
  const int on = 1;
  NPG_ASSERT_OK_AND_ASSIGN(const auto address, testing::MakeAddress("127.0.0.1", 1001));
  for (int i = 0; i < 3; ++i) {
    NPG_ASSERT_OK_AND_ASSIGN(auto socket, testing::OpenSocket(AF_INET, Transport::kTcp));
    setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    ASSERT_EQ(bind(socket.get(), address.get(), address.size), 0);
    ASSERT_EQ(listen(socket.get(), 1), 0);
    sockets.push_back(std::move(socket));
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto listeners, ListListeners());
  std::vector<uint64_t> inodes;
  std::vector<uint64_t> expected;
  for (const core::Listener& listener : listeners) inodes.push_back(listener.inode);
  for (const base::UniqueFd& socket : sockets) expected.push_back(InodeOf(socket.get()));
  EXPECT_THAT(inodes, ::testing::UnorderedElementsAreArray(expected));
}

TEST_F(SockDiagTest, ListsAnMptcpListenerOnceWithTheInodeOfItsDescriptor) {
  // MPTCP is missing in Linux 5.10.
  if (const auto socket = testing::OpenSocket(AF_INET, Transport::kMptcp); !socket.ok()) {
    GTEST_SKIP() << socket.status();
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto v4, Listening("127.0.0.1", 1001, Transport::kMptcp));
  NPG_ASSERT_OK_AND_ASSIGN(const auto v6, Listening("::", 1002, Transport::kMptcp));
  EXPECT_THAT(Listeners(), ElementsAre("1001/tcp 127.0.0.1", "1002/tcp [::]"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto listeners, ListListeners());
  EXPECT_EQ(listeners[0].inode, InodeOf(v4.get()));
  EXPECT_EQ(listeners[1].inode, InodeOf(v6.get()));
}

TEST_F(SockDiagTest, ReportsTheAcceptQueue) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto tcp, Listening("127.0.0.1", kPort, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(const auto udp, Listening("127.0.0.1", kPort, Transport::kUdp));
  ASSERT_EQ(listen(tcp.get(), 5), 0);
  const auto waiting = [] {
    const auto found = ListTcpListenersOn([](const core::PortKey&) { return true; });
    return found.ok() && found->listeners.size() == 1 ? found->listeners[0].accept_queue : 99U;
  };
  EXPECT_EQ(waiting(), 0U);
  NPG_ASSERT_OK_AND_ASSIGN(const auto one, testing::Connect(Dial("127.0.0.1")));
  NPG_ASSERT_OK_AND_ASSIGN(auto other, testing::Connect(Dial("127.0.0.1")));
  // The kernel queues a connection when the last packet of the handshake arrives.
  EXPECT_TRUE(testing::WaitUntil(testing::kPatience, [&] { return waiting() == 2U; }));
  NPG_ASSERT_OK_AND_ASSIGN(const auto listeners, ListListeners());
  ASSERT_EQ(listeners.size(), 2U);
  EXPECT_EQ(listeners[0].key.protocol, core::Protocol::kTcp);
  EXPECT_EQ(listeners[0].accept_queue, 2U);
  EXPECT_EQ(listeners[0].accept_limit, 5U);
  EXPECT_EQ(listeners[1].accept_queue, 0U);
  EXPECT_EQ(listeners[1].accept_limit, 0U) << "UDP has no backlog";
  // A client that closes does not make it shorter.
  other.Reset();
  EXPECT_EQ(waiting(), 2U);
  const base::UniqueFd accepted(accept(tcp.get(), nullptr, nullptr));
  ASSERT_TRUE(accepted);
  EXPECT_EQ(waiting(), 1U);
}

TEST_F(SockDiagTest, ListsTheConnectionsThatWait) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto v4, Listening("127.0.0.1", kPort, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(const auto v6, Listening("::1", kPort, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(const auto other, Listening("127.0.0.1", kPort + 1, Transport::kTcp));
  for (const auto* listener : {&v4, &v6, &other}) ASSERT_EQ(listen(listener->get(), 100), 0);
  core::WaitingQuery query;
  const auto waiting = [&query] {
    const auto found = ListWaitingConnections(query);
    NPG_EXPECT_OK(found);
    return found.ok() ? *found : std::vector<core::WaitingConnection>();
  };
  NPG_ASSERT_OK_AND_ASSIGN(auto one, testing::Connect(Dial("127.0.0.1")));
  NPG_ASSERT_OK_AND_ASSIGN(const auto two, testing::Connect(Dial("::1")));
  NPG_ASSERT_OK_AND_ASSIGN(const auto elsewhere, testing::Connect(testing::Dial{
                                                     "127.0.0.1", kPort + 1, Transport::kTcp}));
  EXPECT_THAT(waiting(), IsEmpty()) << "no port was asked for";
  query.ports = {kPort};
  // The kernel queues a connection when the last packet of the handshake arrives.
  EXPECT_TRUE(testing::WaitUntil(testing::kPatience, [&] { return waiting().size() == 2; }));
  const std::vector<core::WaitingConnection> before = waiting();
  ASSERT_EQ(before.size(), 2U);
  EXPECT_EQ(before[0].port, kPort);
  EXPECT_EQ(core::AddressText(before[0].address), "127.0.0.1");
  EXPECT_EQ(core::AddressText(before[1].address), "[::1]");
  EXPECT_NE(before[0].cookie, before[1].cookie);

  // It still waits after its client has closed it, and no longer once it is accepted.
  one.Reset();
  EXPECT_EQ(waiting(), before);
  base::UniqueFd accepted(accept(v4.get(), nullptr, nullptr));
  ASSERT_TRUE(accepted);
  EXPECT_THAT(waiting(), ElementsAre(before[1]));
  accepted.Reset();
  EXPECT_THAT(waiting(), ElementsAre(before[1]));
  query.ports = {kPort - 1, kPort + 1};
  EXPECT_THAT(waiting(), ::testing::SizeIs(1));
}

TEST_F(SockDiagTest, ListsALimitedNumberOfConnectionsThatWaitAndThoseOfCookies) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, Listening("127.0.0.1", kPort, Transport::kTcp));
  constexpr size_t kClients = core::WaitingQuery::kMaxOfPort + 10;
  ASSERT_EQ(listen(listener.get(), static_cast<int>(2 * kClients)), 0);
  core::WaitingQuery query;
  query.ports = {kPort};
  std::vector<base::UniqueFd> clients;
  const auto add_client = [&clients] {
    NPG_ASSERT_OK_AND_ASSIGN(auto client, testing::Connect(Dial("127.0.0.1")));
    clients.push_back(std::move(client));
  };
  for (size_t i = 1; i <= core::WaitingQuery::kMaxOfPort; ++i) {
    add_client();
    EXPECT_TRUE(testing::WaitUntil(testing::kPatience, [&] {
      const auto found = ListWaitingConnections(query);
      return found.ok() && found->size() == i;
    }));
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto first, ListWaitingConnections(query));
  for (const core::WaitingConnection& connection : first) query.cookies.insert(connection.cookie);
  while (clients.size() < kClients) add_client();
  EXPECT_TRUE(testing::WaitUntil(testing::kPatience, [&] {
    const auto found = ListTcpListenersOn([](const core::PortKey&) { return true; });
    return found.ok() && found->listeners.size() == 1 &&
           found->listeners[0].accept_queue == kClients;
  }));
  NPG_ASSERT_OK_AND_ASSIGN(const auto all, ListWaitingConnections(query));
  for (const core::WaitingConnection& connection : first) {
    EXPECT_THAT(all, ::testing::Contains(connection));
  }
  query.cookies.clear();
  NPG_ASSERT_OK_AND_ASSIGN(const auto limited, ListWaitingConnections(query));
  EXPECT_EQ(limited.size(), core::WaitingQuery::kMaxOfPort);
}

TEST_F(SockDiagTest, FindsManyListeners) {
  constexpr uint16_t kFirst = 20000;
  constexpr uint16_t kCount = 900;
  std::vector<base::UniqueFd> sockets;
  for (uint16_t i = 0; i < kCount; ++i) {
    NPG_ASSERT_OK_AND_ASSIGN(
        auto socket, Listening(i % 2 == 0 ? "127.0.0.1" : "::1", static_cast<uint16_t>(kFirst + i),
                               Transport::kTcp));
    sockets.push_back(std::move(socket));
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto listeners, ListListeners());
  ASSERT_EQ(listeners.size(), kCount);
  for (uint16_t i = 0; i < kCount; ++i) EXPECT_EQ(listeners[i].key.port, kFirst + i);
}

TEST_F(SockDiagTest, MarkedFlowsAreThoseOfMarkedClients) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto tcp, Listening("::", kPort, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(const auto udp, Listening("::", kPort, Transport::kUdp));
  std::vector<Pair> pairs;
  std::vector<Flow> expected;
  for (const char* destination : {"127.0.0.1", "127.0.0.5", "::1", "::ffff:127.0.0.1"}) {
    for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
      NPG_ASSERT_OK_AND_ASSIGN(Pair pair,
                               Connected(Dial(destination, transport),
                                         transport == Transport::kTcp ? tcp.get() : udp.get()));
      expected.push_back(pair.flow);
      pairs.push_back(std::move(pair));
    }
  }
  testing::Dial unmarked = Dial("127.0.0.1");
  unmarked.mark = 0x2000;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair other, Connected(unmarked, tcp.get()));
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(Marked(), expected);
  NPG_ASSERT_OK_AND_ASSIGN(const auto others, ListMarkedFlows({0x2000, 0x3000}));
  EXPECT_THAT(others, ElementsAre(other.flow));

  const std::vector<Flow> connections = Connections();
  EXPECT_THAT(connections, ::testing::IsSupersetOf(expected));
  EXPECT_THAT(connections, ::testing::Contains(other.flow));
  EXPECT_THAT(connections, ::testing::Contains(Turned(other.flow)));
}

TEST_F(SockDiagTest, ExemptFlowsAreAlsoThoseOfUdpSocketsToATarget) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto tcp, Listening("::", kPort, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(const auto udp, Listening("::", kPort, Transport::kUdp));
  std::vector<Pair> pairs;
  std::vector<Flow> expected;
  core::DatagramTargets targets;
  for (const char* destination : {"127.0.0.1", "::1", "::ffff:127.0.0.5", "127.0.0.9"}) {
    for (const bool marked : {true, false}) {
      for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
        testing::Dial dial = Dial(destination, transport);
        if (!marked) dial.mark = 0;
        NPG_ASSERT_OK_AND_ASSIGN(
            Pair pair, Connected(dial, transport == Transport::kTcp ? tcp.get() : udp.get()));
        const bool target = destination != absl::string_view("127.0.0.9");
        if (target) targets.addresses.emplace(pair.flow.server_address, kPort);
        if (marked || (target && transport == Transport::kUdp)) expected.push_back(pair.flow);
        pairs.push_back(std::move(pair));
      }
    }
  }
  std::sort(expected.begin(), expected.end());
  NPG_ASSERT_OK_AND_ASSIGN(const auto exempt, ListExemptFlows({}, targets));
  EXPECT_EQ(exempt, expected);
  NPG_ASSERT_OK_AND_ASSIGN(const auto without_targets, ListExemptFlows({}, {}));
  EXPECT_EQ(without_targets, Marked());
}

TEST_F(SockDiagTest, MarkedFlowsLiveUntilBothEndsHaveClosed) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, Listening("127.0.0.1", kPort, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Connected(Dial("127.0.0.1"), listener.get()));
  ASSERT_EQ(shutdown(pair.client.get(), SHUT_WR), 0);
  char byte = 0;
  ASSERT_EQ(recv(pair.server.get(), &byte, 1, 0), 0);
  EXPECT_THAT(Marked(), ElementsAre(pair.flow));  // FIN_WAIT2
  pair.server.Reset();
  ASSERT_EQ(recv(pair.client.get(), &byte, 1, 0), 0);
  EXPECT_THAT(Marked(), IsEmpty());
  // The connection is listed while it is in TIME_WAIT.
  EXPECT_THAT(Connections(), ::testing::Contains(pair.flow));
}

TEST_F(SockDiagTest, OrphanedClientIsStillConnected) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, Listening("127.0.0.1", kPort, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Connected(Dial("127.0.0.1"), listener.get()));
  pair.client.Reset();
  char byte = 0;
  ASSERT_EQ(recv(pair.server.get(), &byte, 1, 0), 0);
  const std::vector<Flow> connections = Connections();
  EXPECT_THAT(connections, ::testing::Contains(pair.flow));
  EXPECT_THAT(connections, ::testing::Contains(Turned(pair.flow)));
}

TEST_F(SockDiagTest, MptcpClientIsFoundByItsSubflow) {
  // MPTCP is missing in Linux 5.10.
  if (const auto socket = testing::OpenSocket(AF_INET, Transport::kMptcp); !socket.ok()) {
    GTEST_SKIP() << socket.status();
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, Listening("127.0.0.1", kPort, Transport::kMptcp));
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair,
                           Connected(Dial("127.0.0.1", Transport::kMptcp), listener.get()));
  EXPECT_THAT(Marked(), ElementsAre(pair.flow));
}

TEST_F(SockDiagTest, IgnoresOtherAddresses) {
  NPG_ASSERT_OK(testing::RunCommand({"ip", "address", "add", "10.9.0.1/32", "dev", "lo"}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, Listening("10.9.0.1", kPort, Transport::kTcp));
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Connected(Dial("10.9.0.1"), listener.get()));
  EXPECT_THAT(Marked(), IsEmpty());
  EXPECT_THAT(Connections(), IsEmpty());
}

TEST_F(SockDiagTest, ListingMarksNeedsPrivileges) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, Listening("127.0.0.1", kPort, Transport::kTcp));
  const auto said = testing::RunInFork([] {
    constexpr uid_t kNobody = 65534;
    if (setresuid(kNobody, kNobody, kNobody) != 0) return std::string("setresuid failed");
    const auto listeners = ListListeners();
    const auto connections = ListLocalFlows();
    if (!listeners.ok() || listeners->size() != 1 || !connections.ok()) {
      return std::string("no listeners");
    }
    return absl::StatusCodeToString(ListMarkedFlows({}).status().code());
  });
  NPG_ASSERT_OK(said);
  EXPECT_EQ(*said, "PERMISSION_DENIED");
}

}  // namespace
}  // namespace npg::node::sock_diag_test
