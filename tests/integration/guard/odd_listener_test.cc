// SPDX-License-Identifier: Apache-2.0
// Listeners that were not made by socket, bind and listen in one process, or that are
// bound to more than an address. If the guard does not see a listener, connects to it go
// to the Service, as without the guard.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/socket_of_fork.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::odd_listener_test {
namespace {

using base::ErrnoStatus;
using base::UniqueFd;

constexpr uint16_t kPort = 33589;
constexpr std::array<Transport, 2> kTransports{Transport::kTcp, Transport::kUdp};

absl::Status Ip(const std::string& arguments) {
  return RunCommand({"ip", "-batch", "-"}, arguments + "\n").status();
}

absl::Status SetOption(int fd, int level, int option, const void* value, socklen_t size) {
  if (setsockopt(fd, level, option, value, size) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("setsockopt ", option));
}

// Prepares a socket before it is bound.
using Prepare = std::function<absl::Status(int fd)>;

Prepare ToDevice(const std::string& device) {
  return [device](int fd) {
    return SetOption(fd, SOL_SOCKET, SO_BINDTODEVICE, device.data(),
                     static_cast<socklen_t>(device.size()));
  };
}

absl::Status Transparent(int fd) {
  const int on = 1;
  return SetOption(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on));
}

absl::Status ReusePort(int fd) {
  const int on = 1;
  return SetOption(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
}

absl::StatusOr<UniqueFd> Bind(const std::string& text, Transport transport,
                              const Prepare& prepare = nullptr) {
  const auto address = MakeAddress(text, kPort);
  if (!address.ok()) return address.status();
  auto fd = OpenSocket(address->family(), transport);
  if (!fd.ok()) return fd;
  const int on = transport == Transport::kUdp ? 0 : 1;
  NPG_RETURN_IF_ERROR(SetOption(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
  if (prepare) NPG_RETURN_IF_ERROR(prepare(fd->get()));
  if (bind(fd->get(), address->get(), address->size) != 0) {
    return ErrnoStatus(errno, absl::StrCat("bind ", TransportName(transport), " ", text));
  }
  if (transport != Transport::kUdp && listen(fd->get(), SOMAXCONN) != 0) {
    return ErrnoStatus(errno, "listen");
  }
  return fd;
}

// A socket on 127.0.0.1 that a process named "binder" bound and passed to this process
// before it ended.
absl::StatusOr<UniqueFd> BoundByAnother(Transport transport) {
  return SocketOfFork([transport] {
    prctl(PR_SET_NAME, "binder");
    return Bind("127.0.0.1", transport);
  });
}

// A socket that got its port without a call of bind().
absl::StatusOr<UniqueFd> WithoutBind(Transport transport) {
  auto fd = OpenSocket(AF_INET, transport);
  if (!fd.ok()) return fd;
  if (transport != Transport::kUdp) {
    if (listen(fd->get(), SOMAXCONN) != 0) return ErrnoStatus(errno, "listen");
    return fd;
  }
  // The pod answers: an ICMP error would make a later call on the socket fail.
  const auto pod = MakeAddress(TestNode::kPod, TestNode::kPodPort);
  if (!pod.ok()) return pod.status();
  std::array<char, 64> answer{};
  if (sendto(fd->get(), "?", 1, 0, pod->get(), pod->size) != 1 ||
      recv(fd->get(), answer.data(), answer.size(), 0) <= 0) {
    return ErrnoStatus(errno, "exchange with the pod");
  }
  return fd;
}

class GuardOddListenerTest : public GuardTest {
 protected:
  static absl::StatusOr<std::unique_ptr<EchoServer>> Serve(Transport transport,
                                                           absl::StatusOr<UniqueFd> socket) {
    if (!socket.ok()) return socket.status();
    return EchoServer::Adopt(kHost, transport, *std::move(socket));
  }

  // Expects the answer to a connect and, for UDP, to a datagram of an unconnected socket.
  static void ExpectAnswers(const std::string& address, uint16_t port, Transport transport,
                            const std::string& expected) {
    const Dial dial{address, port, transport};
    EXPECT_EQ(Ask(dial), expected) << ToString(dial);
    if (transport == Transport::kUdp) {
      EXPECT_EQ(AskByDatagram(address, port), expected) << address;
    }
  }

  // Order: socket, NodePort, guard. The connect is hijacked until the guard starts.
  void ExpectRescuedByALaterGuard(Transport transport, absl::StatusOr<UniqueFd> socket,
                                  const std::vector<std::string>& arguments = {}) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(socket);
    const uint16_t port = LocalPort(socket->get());
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Serve(transport, std::move(socket)));
    NPG_ASSERT_OK(Allocate({}));
    ExpectAnswers("127.0.0.1", port, transport, kHost);
    NPG_ASSERT_OK(Allocate(NodePorts({port})));
    ExpectAnswers("127.0.0.1", port, transport, Hijacked());
    NPG_ASSERT_OK(StartGuard(arguments));
    ExpectAnswers("127.0.0.1", port, transport, kHost);
    NPG_ASSERT_OK(Unload());
  }

  // Order: guard, socket, NodePort.
  void ExpectRescuedByAnEarlierGuard(Transport transport,
                                     const std::function<absl::StatusOr<UniqueFd>()>& open,
                                     const std::vector<std::string>& arguments = {}) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(Allocate({}));
    NPG_ASSERT_OK(StartGuard(arguments));
    auto socket = open();
    NPG_ASSERT_OK(socket);
    const uint16_t port = LocalPort(socket->get());
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Serve(transport, std::move(socket)));
    NPG_ASSERT_OK(Allocate(NodePorts({port})));
    // The controller finds owners, and exempts datagrams, shortly after it knows the port.
    const bool udp = transport == Transport::kUdp;
    EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&] {
      return Ask({"127.0.0.1", port, transport}) == kHost &&
             (!udp || AskByDatagram("127.0.0.1", port) == kHost);
    }));
    NPG_ASSERT_OK(Unload());
  }
};

TEST_P(GuardOddListenerTest, PortWithoutBind) {
  ExpectRescuedByALaterGuard(Transport::kTcp, WithoutBind(Transport::kTcp));
  ExpectRescuedByAnEarlierGuard(Transport::kTcp, [] { return WithoutBind(Transport::kTcp); });
}

// A UDP socket that only sends gets its port like that. It is no listener.
TEST_P(GuardOddListenerTest, PortOfASocketThatOnlySends) {
  for (const bool later : {true, false}) {
    SCOPED_TRACE(later ? "guard later" : "guard before");
    NPG_ASSERT_OK(Allocate({}));
    if (!later) {
      NPG_ASSERT_OK(StartGuard());
    }
    auto socket = WithoutBind(Transport::kUdp);
    NPG_ASSERT_OK(socket);
    const uint16_t port = LocalPort(socket->get());
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Serve(Transport::kUdp, std::move(socket)));
    ExpectAnswers("127.0.0.1", port, Transport::kUdp, kHost);
    NPG_ASSERT_OK(Allocate(NodePorts({port})));
    if (later) {
      NPG_ASSERT_OK(StartGuard());
    }
    // The second time, the controller may have looked at it because of the first.
    for (int round = 0; round < 2; ++round) {
      ExpectAnswers("127.0.0.1", port, Transport::kUdp, Hijacked());
      absl::SleepFor(absl::Milliseconds(200));
    }
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
    EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 2U);
    NPG_ASSERT_OK(Unload());
  }
}

// No program runs for a listen() without bind(), so its owner is found in /proc.
TEST_P(GuardOddListenerTest, PortWithoutBindOfAChosenOwner) {
  prctl(PR_SET_NAME, "victim");
  const std::vector<std::string> chosen = {"--only-process", "victim"};
  ExpectRescuedByALaterGuard(Transport::kTcp, WithoutBind(Transport::kTcp), chosen);
  ExpectRescuedByAnEarlierGuard(
      Transport::kTcp, [] { return WithoutBind(Transport::kTcp); }, chosen);
}

TEST_P(GuardOddListenerTest, BoundByAProcessThatEnded) {
  for (const Transport transport : kTransports) {
    ExpectRescuedByALaterGuard(transport, BoundByAnother(transport));
    ExpectRescuedByAnEarlierGuard(transport, [transport] { return BoundByAnother(transport); });
  }
}

// If no program saw the bind(), the owner is the process that holds the socket.
TEST_P(GuardOddListenerTest, BoundByAnIgnoredProcessBeforeTheGuard) {
  for (const Transport transport : kTransports) {
    ExpectRescuedByALaterGuard(transport, BoundByAnother(transport),
                               {"--ignore-process", "binder"});
  }
}

// If a program saw it, the owner is the process that bound the socket, also for a controller
// that starts later.
TEST_P(GuardOddListenerTest, BoundByAnIgnoredProcess) {
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
    NPG_ASSERT_OK(StartGuard({"--ignore-process", "binder"}));
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Serve(transport, BoundByAnother(transport)));
    ExpectAnswers("127.0.0.1", kPort, transport, Hijacked());
    EXPECT_EQ(Counted(NPG_COUNTER_IGNORED_OWNER), 1U);
    NPG_ASSERT_OK(guard().Stop());
    NPG_ASSERT_OK(StartGuard({"--ignore-process", "binder"}));
    ExpectAnswers("127.0.0.1", kPort, transport, Hijacked());
    NPG_ASSERT_OK(Unload());
  }
}

// An ignored process that received the socket is not its owner: another one bound it.
TEST_P(GuardOddListenerTest, PassedOnToAnIgnoredProcess) {
  prctl(PR_SET_NAME, "holder");
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
    NPG_ASSERT_OK(StartGuard({"--ignore-process", "holder"}));
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Serve(transport, BoundByAnother(transport)));
    EXPECT_EQ(Ask({"127.0.0.1", kPort, transport}), kHost);
    NPG_ASSERT_OK(guard().Stop());
    NPG_ASSERT_OK(StartGuard({"--ignore-process", "holder"}));
    ExpectAnswers("127.0.0.1", kPort, transport, kHost);
    NPG_ASSERT_OK(Unload());
  }
}

// As with socket activation by systemd: one process binds the socket, another inherits
// it over fork() and exec().
TEST_P(GuardOddListenerTest, InheritedOverExec) {
  // Answers as an EchoServer does, on descriptor argv[2].
  constexpr const char* kServer = R"(
import socket, sys
s = socket.socket(fileno=int(sys.argv[2]))
print("ready", flush=True)
while True:
    if sys.argv[1] == "UDP":
        data, peer = s.recvfrom(64)
        s.sendto(b"host\n" + data, peer)
    else:
        connection, peer = s.accept()
        connection.sendall(b"host\n")
        connection.close()
)";
  for (const Transport transport : kTransports) {
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{}, {"--only-process", "python3"}}) {
      SCOPED_TRACE(absl::StrCat(TransportName(transport), " ", arguments.size()));
      NPG_ASSERT_OK(Allocate({}));
      NPG_ASSERT_OK_AND_ASSIGN(UniqueFd socket, Bind("127.0.0.1", transport));
      UniqueFd inherited(dup(socket.get()));  // without close-on-exec
      NPG_ASSERT_OK_AND_ASSIGN(const ChildProcess service,
                               ChildProcess::Start({"/usr/bin/python3", "-c", kServer,
                                                    std::string(TransportName(transport)),
                                                    absl::StrCat(inherited.get())}));
      socket.Reset();
      inherited.Reset();
      ASSERT_TRUE(WaitUntil(absl::Seconds(30), [&] { return !service.Out().empty(); }))
          << service.Err();
      ExpectAnswers("127.0.0.1", kPort, transport, kHost);
      NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
      ExpectAnswers("127.0.0.1", kPort, transport, Hijacked());
      NPG_ASSERT_OK(StartGuard(arguments));
      ExpectAnswers("127.0.0.1", kPort, transport, kHost);
      NPG_ASSERT_OK(Unload());
    }
  }
}

// The socket lookup of a connect program has no device, so it finds no socket that is
// bound to one. The exemption of UDP by destination needs no lookup.
TEST_P(GuardOddListenerTest, BoundToLoopbackDevice) {
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(Allocate({}));
    NPG_ASSERT_OK_AND_ASSIGN(const auto host,
                             Serve(transport, Bind("127.0.0.1", transport, ToDevice("lo"))));
    ExpectAnswers("127.0.0.1", kPort, transport, kHost);
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
    ExpectAnswers("127.0.0.1", kPort, transport, Hijacked());
    NPG_ASSERT_OK(StartGuard());
    // Exempt by its destination, connected or not.
    ExpectAnswers("127.0.0.1", kPort, transport, transport == Transport::kUdp ? kHost : "pod");
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
    EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 1U);
    NPG_ASSERT_OK(Unload());
  }
}

// A connect to loopback cannot reach such a listener. A VRF is such a device.
TEST_P(GuardOddListenerTest, BoundToAnotherDevice) {
  constexpr const char* kNodeAddress = "10.244.1.1";
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(Allocate({}));
    NPG_ASSERT_OK_AND_ASSIGN(const auto host,
                             Serve(transport, Bind("0.0.0.0", transport, ToDevice("pod0"))));
    ExpectAnswers("127.0.0.1", kPort, transport, "refused");
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
    for (const char* scope : {"loopback", "local"}) {
      SCOPED_TRACE(scope);
      NPG_ASSERT_OK(StartGuard({"--scope", scope}));
      ExpectAnswers("127.0.0.1", kPort, transport, "pod");
      ExpectAnswers(kNodeAddress, kPort, transport, "pod");
      EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
    }
    NPG_ASSERT_OK(Unload());
  }
}

// A connect program receives the address, but not its interface.
TEST_P(GuardOddListenerTest, LinkLocal) {
  NPG_ASSERT_OK(Ip("addr add fe80::1/64 dev lo nodad"));
  const std::vector<NodePort> ports = NodePorts({kPort});
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(ApplyIpv6Rules(GetParam().variant, "::1", {}, 8081));
    NPG_ASSERT_OK_AND_ASSIGN(const auto pod, EchoServer::Start("pod", {{"::1", 8081, transport}}));
    NPG_ASSERT_OK_AND_ASSIGN(const auto host, Serve(transport, Bind("fe80::1%lo", transport)));
    ExpectAnswers("fe80::1%lo", kPort, transport, kHost);
    NPG_ASSERT_OK(ApplyIpv6Rules(GetParam().variant, "::1", ports, 8081));
    NPG_ASSERT_OK(WriteNodePortsFile(node().File("nodeports.json"), ports));
    for (const char* scope : {"loopback", "local"}) {
      SCOPED_TRACE(scope);
      NPG_ASSERT_OK(StartGuard({"--scope", scope}));
      EXPECT_EQ(Ask({"fe80::1%lo", kPort, transport}), "pod");
      // It does not listen on ::1.
      ExpectAnswers("::1", kPort, transport, "pod");
      EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
    }
    NPG_ASSERT_OK(Unload());
  }
}

// As in a proxy, which accepts connects to foreign addresses that are routed to the node.
TEST_P(GuardOddListenerTest, TransparentOnAForeignAddress) {
  constexpr const char* kForeign = "198.51.100.7";
  NPG_ASSERT_OK(Ip(absl::StrCat("route add local ", kForeign, "/32 dev lo")));
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(Allocate({}));
    NPG_ASSERT_OK_AND_ASSIGN(const auto host,
                             Serve(transport, Bind(kForeign, transport, Transparent)));
    ExpectAnswers(kForeign, kPort, transport, kHost);
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
    for (const char* scope : {"loopback", "local"}) {
      SCOPED_TRACE(scope);
      NPG_ASSERT_OK(StartGuard({"--scope", scope}));
      // Routed to the node, but not an address of an interface.
      ExpectAnswers(kForeign, kPort, transport, "pod");
      ExpectAnswers("127.0.0.1", kPort, transport, "pod");
      EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
    }
    NPG_ASSERT_OK(Unload());
  }
}

TEST_P(GuardOddListenerTest, TransparentOnTheWildcard) {
  for (const Transport transport : kTransports) {
    ExpectRescuedByALaterGuard(transport, Bind("0.0.0.0", transport, Transparent));
  }
}

// Each socket of the group has a record of its own: the one that the lookup finds decides.
TEST_P(GuardOddListenerTest, ReusePortGroupOfTwoOwners) {
  const auto bind_as = [](const char* name, Transport transport) {
    prctl(PR_SET_NAME, name);
    return Bind("127.0.0.1", transport, ReusePort);
  };
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--ignore-process", "holder"}));
  for (const Transport transport : kTransports) {
    for (const bool ignored_last : {true, false}) {
      SCOPED_TRACE(absl::StrCat(TransportName(transport), ignored_last ? " holder last" : ""));
      NPG_ASSERT_OK_AND_ASSIGN(UniqueFd first,
                               bind_as(ignored_last ? "victim" : "holder", transport));
      NPG_ASSERT_OK_AND_ASSIGN(const UniqueFd last,
                               bind_as(ignored_last ? "holder" : "victim", transport));
      NPG_ASSERT_OK(Connect({"127.0.0.1", kPort, transport}));
      EXPECT_EQ(Counted(NPG_COUNTER_IGNORED_OWNER) + Counted(NPG_COUNTER_EXEMPTED), 1U);
      first.Reset();
      NPG_ASSERT_OK(Connect({"127.0.0.1", kPort, transport}));
      EXPECT_EQ(Counted(NPG_COUNTER_IGNORED_OWNER), ignored_last ? 1U : 0U);
      EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), ignored_last ? 0U : 1U);
    }
  }
}

TEST_P(GuardOddListenerTest, ReusePortGroupAfterItsIgnoredOwnerEnded) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--ignore-process", "holder"}));
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK_AND_ASSIGN(const UniqueFd victim, Bind("127.0.0.1", transport, ReusePort));
    NPG_ASSERT_OK_AND_ASSIGN(const std::string said, RunInFork([transport]() -> std::string {
                               prctl(PR_SET_NAME, "holder");
                               return Bind("127.0.0.1", transport, ReusePort).ok() ? "held" : "";
                             }));
    ASSERT_EQ(said, "held");
    NPG_ASSERT_OK(guard().Stop());
    NPG_ASSERT_OK(StartGuard({"--ignore-process", "holder"}));
    Counted(NPG_COUNTER_EXEMPTED);
    NPG_ASSERT_OK(Connect({"127.0.0.1", kPort, transport}));
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 1U);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardOddListenerTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft}), RuleShapeName);

}  // namespace
}  // namespace npg::testing::odd_listener_test
