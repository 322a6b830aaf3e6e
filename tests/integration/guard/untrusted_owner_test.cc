// SPDX-License-Identifier: Apache-2.0
// Any local user can bind a NodePort. The guard serves only listeners of the users and cgroups
// that --guard-uid and --guard-cgroup name; connects to the others go to the Service, as without
// the guard.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_maps.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/socket_of_fork.h"
#include "testing/status_asserts.h"
#include "testing/test_cgroup.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::untrusted_owner_test {
namespace {

using base::ErrnoStatus;
using base::UniqueFd;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Arguments = std::vector<std::string>;
using Json = nlohmann::json;

constexpr uint16_t kPort = 33589;
constexpr uint16_t kOtherPort = 33590;
constexpr std::array<Transport, 2> kTransports{Transport::kTcp, Transport::kUdp};

absl::Status BindTo(int socket, uint16_t port) {
  const auto address = MakeAddress("127.0.0.1", port);
  if (!address.ok()) return address.status();
  if (bind(socket, address->get(), address->size) != 0) {
    return ErrnoStatus(errno, absl::StrCat("bind to port ", port));
  }
  return absl::OkStatus();
}

absl::Status StartToListen(int socket, Transport transport) {
  if (transport != Transport::kUdp && listen(socket, SOMAXCONN) != 0) {
    return ErrnoStatus(errno, "listen");
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> Bind(Transport transport, uint16_t port = kPort) {
  auto fd = OpenSocket(AF_INET, transport);
  if (!fd.ok()) return fd;
  const int on = transport == Transport::kUdp ? 0 : 1;
  if (setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) {
    return ErrnoStatus(errno, "SO_REUSEADDR");
  }
  NPG_RETURN_IF_ERROR(BindTo(fd->get(), port));
  NPG_RETURN_IF_ERROR(StartToListen(fd->get(), transport));
  return fd;
}

// A change of the calling process.
using Become = std::function<absl::Status()>;

// A socket on kPort of a process that changed before it made the socket. This process holds it.
absl::StatusOr<UniqueFd> BoundAfter(const Become& become, Transport transport) {
  return SocketOfFork([&]() -> absl::StatusOr<UniqueFd> {
    NPG_RETURN_IF_ERROR(become());
    return Bind(transport);
  });
}

// Root, in a user namespace that kNobodyUid made.
absl::Status BecomeMappedRoot() {
  NPG_RETURN_IF_ERROR(BecomeNobody());
  if (unshare(CLONE_NEWUSER) != 0) return ErrnoStatus(errno, "unshare(CLONE_NEWUSER)");
  std::ofstream map("/proc/self/uid_map");
  map << "0 " << kNobodyUid << " 1" << std::flush;
  if (!map) return ErrnoStatus(errno, "write /proc/self/uid_map");
  if (getuid() != 0) return absl::InternalError("is not root of its user namespace");
  return absl::OkStatus();
}

// A process of kNobodyUid that sleeps. It holds copies of the descriptors that this process has
// without close-on-exec.
absl::StatusOr<ChildProcess> SleepAsNobody() {
  absl::StatusOr<ChildProcess> sleeper = ChildProcess::Start(
      {"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "sleep", "1000"});
  if (!sleeper.ok()) return sleeper;
  const std::string comm = absl::StrCat("/proc/", sleeper->pid(), "/comm");
  const bool sleeps = WaitUntil(absl::Seconds(10), [&comm] {
    std::ifstream file(comm);
    std::string name;
    return std::getline(file, name) && name == "sleep";
  });
  if (!sleeps) return absl::DeadlineExceededError("setpriv has not started sleep");
  return sleeper;
}

class GuardUntrustedOwnerTest : public GuardTest {
 protected:
  // Another test in this process may have changed the name.
  GuardUntrustedOwnerTest() { prctl(PR_SET_NAME, "owner-test"); }

  // A socket on which this process answers.
  struct Served {
    UniqueFd socket;
    std::unique_ptr<EchoServer> server;
  };

  static absl::StatusOr<Served> Serve(Transport transport, absl::StatusOr<UniqueFd> socket) {
    if (!socket.ok()) return socket.status();
    Served host;
    host.socket.Reset(fcntl(socket->get(), F_DUPFD_CLOEXEC, 0));
    if (!host.socket) return ErrnoStatus(errno, "duplicate a socket");
    auto server = EchoServer::Adopt(kHost, transport, *std::move(socket));
    if (!server.ok()) return server.status();
    host.server = *std::move(server);
    return host;
  }

  absl::Status Restart(const Arguments& arguments) {
    NPG_RETURN_IF_ERROR(guard().Stop());
    return StartGuard(arguments);
  }

  // Expects that connects and datagrams reach the Service, and that the one connect is counted
  // as `reason`.
  void ExpectLeftAlone(Transport transport, npg_counter reason = NPG_COUNTER_UNTRUSTED_OWNER,
                       uint16_t port = kPort) {
    EXPECT_EQ(Ask({"127.0.0.1", port, transport}), Hijacked());
    EXPECT_EQ(Counted(reason), 1U);
    if (transport == Transport::kUdp) {
      EXPECT_EQ(AskByDatagram("127.0.0.1", port), Hijacked());
    }
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  }

  void ExpectGuarded(Transport transport) {
    EXPECT_EQ(Ask({"127.0.0.1", kPort, transport}), kHost);
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 1U);
    // The controller exempts datagrams shortly after the bind().
    EXPECT_TRUE(transport != Transport::kUdp || WaitUntil(absl::Seconds(10), [] {
                  return AskByDatagram("127.0.0.1", kPort) == kHost;
                }));
  }

  // The JSON that `command` prints.
  Json JsonOf(Arguments command) const {
    command.insert(command.end(), {"-o", "json"});
    const auto result = RunForResult(GuardCommand(node(), command));
    EXPECT_TRUE(result.ok() && result->exit_code == 0) << result.status();
    return result.ok() ? Json::parse(result->out, nullptr, false) : Json();
  }

  // Expects that `status` lists the listener as untrusted, and prints the flag that would guard it.
  void ExpectStatusSaysUntrusted() {
    const Json status = JsonOf({"status"});
    ASSERT_THAT(status["conflicts"], SizeIs(1)) << status;
    EXPECT_EQ(status["conflicts"][0]["verdict"], "untrusted");
    EXPECT_EQ(status["conflicts"][0]["owner"]["uid"], kNobodyUid);
    EXPECT_THAT(status["notes"].dump(), HasSubstr("run with --guard-uid +65534"));
    EXPECT_EQ(status["healthy"], true) << status["problems"];
  }

  // The pattern of --guard-cgroup for the cgroup of this process.
  std::string OwnCgroup() const {
    return "/" + std::filesystem::path(node().cgroup().path()).filename().string();
  }
};

TEST_P(GuardUntrustedOwnerTest, AnotherUserWhileTheGuardRuns) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(StartGuard());
    NPG_ASSERT_OK_AND_ASSIGN(const Served host,
                             Serve(transport, BoundAfter(BecomeNobody, transport)));
    ExpectLeftAlone(transport);
    ExpectStatusSaysUntrusted();
    const Json explained =
        JsonOf({"explain", absl::StrCat(kPort, transport == Transport::kUdp ? "/udp" : "/tcp")});
    EXPECT_EQ(explained["walks"][0]["rows"][5]["fact"],
              "untrusted: neither --guard-uid (0) nor --guard-cgroup names uid 65534");
    NPG_ASSERT_OK_AND_ASSIGN(const auto owner, maps().OwnerOn(host.socket.get()));
    ASSERT_TRUE(owner.has_value());
    EXPECT_EQ(owner->uid, kNobodyUid);
    EXPECT_EQ(owner->asked_port, kPort);

    // The record stays; the policy changes.
    NPG_ASSERT_OK(Restart({}));
    ExpectLeftAlone(transport);
    for (const char* uid : {"+65534", "65534", "any"}) {
      SCOPED_TRACE(uid);
      NPG_ASSERT_OK(Restart({"--guard-uid", uid}));
      ExpectGuarded(transport);
    }
    NPG_ASSERT_OK(Unload());
  }
}

TEST_P(GuardUntrustedOwnerTest, AnotherUserBeforeTheStart) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK_AND_ASSIGN(const Served host,
                             Serve(transport, BoundAfter(BecomeNobody, transport)));
    NPG_ASSERT_OK(StartGuard());
    // A UDP socket without a record counts as no listener.
    const bool udp = transport == Transport::kUdp;
    ExpectLeftAlone(transport, udp ? NPG_COUNTER_NO_LISTENER : NPG_COUNTER_UNTRUSTED_OWNER);
    if (!udp) ExpectStatusSaysUntrusted();
    // That connect made the controller look. Users could fill the map, so they get no record.
    absl::SleepFor(absl::Milliseconds(200));
    NPG_ASSERT_OK_AND_ASSIGN(const auto noted, maps().OwnerOn(host.socket.get()));
    EXPECT_FALSE(noted.has_value());
    NPG_ASSERT_OK_AND_ASSIGN(const auto entry, maps().EarlierSocket("127.0.0.1", kPort, transport));
    EXPECT_FALSE(entry.has_value());

    NPG_ASSERT_OK(Restart({"--guard-uid", "+65534"}));
    ExpectGuarded(transport);
    // Now the socket has a record.
    NPG_ASSERT_OK(Restart({}));
    ExpectLeftAlone(transport);
    NPG_ASSERT_OK(Unload());

    NPG_ASSERT_OK(StartGuard({"--guard-uid", "any"}));
    ExpectGuarded(transport);
    NPG_ASSERT_OK(Unload());
  }
}

// Any process can set its own name.
TEST_P(GuardUntrustedOwnerTest, ANameProvesNothing) {
  prctl(PR_SET_NAME, "kubelet");
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Arguments& arguments : {Arguments{}, Arguments{"--only-process", "kubelet"}}) {
    for (const bool before : {false, true}) {
      SCOPED_TRACE(absl::StrCat(arguments.size(), before ? " before" : " after"));
      if (!before) {
        NPG_ASSERT_OK(StartGuard(arguments));
      }
      NPG_ASSERT_OK_AND_ASSIGN(const Served host,
                               Serve(Transport::kTcp, BoundAfter(BecomeNobody, Transport::kTcp)));
      if (before) {
        NPG_ASSERT_OK(StartGuard(arguments));
      }
      ExpectLeftAlone(Transport::kTcp);
      NPG_ASSERT_OK(Unload());
    }
  }
}

TEST_P(GuardUntrustedOwnerTest, RootOfAUserNamespace) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const bool before : {false, true}) {
    SCOPED_TRACE(before ? "before" : "after");
    if (!before) {
      NPG_ASSERT_OK(StartGuard());
    }
    auto socket = BoundAfter(BecomeMappedRoot, Transport::kTcp);
    if (absl::StrContains(socket.status().message(), "CLONE_NEWUSER")) {
      GTEST_SKIP() << socket.status();
    }
    NPG_ASSERT_OK_AND_ASSIGN(const Served host, Serve(Transport::kTcp, std::move(socket)));
    if (before) {
      NPG_ASSERT_OK(StartGuard());
    }
    ExpectLeftAlone(Transport::kTcp);
    ExpectStatusSaysUntrusted();
    NPG_ASSERT_OK(Restart({"--guard-uid", "+65534"}));
    ExpectGuarded(Transport::kTcp);
    NPG_ASSERT_OK(Unload());
  }
}

// A setuid program of root counts as the user who started it.
TEST_P(GuardUntrustedOwnerTest, TheRealUserCounts) {
  const Become setuid_program = [] {
    return setresuid(kNobodyUid, 0, 0) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "setresuid");
  };
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(StartGuard());
    NPG_ASSERT_OK_AND_ASSIGN(const Served host,
                             Serve(transport, BoundAfter(setuid_program, transport)));
    ExpectLeftAlone(transport);
    NPG_ASSERT_OK(Unload());
  }
}

// A service that binds as root, and gives up its rights.
TEST_P(GuardUntrustedOwnerTest, BoundBeforeTheChangeOfTheUser) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Transport transport : kTransports) {
    for (const bool before : {false, true}) {
      SCOPED_TRACE(absl::StrCat(TransportName(transport), before ? " before" : " after"));
      if (!before) {
        NPG_ASSERT_OK(StartGuard());
      }
      NPG_ASSERT_OK_AND_ASSIGN(const Served host,
                               Serve(transport, SocketOfFork([&]() -> absl::StatusOr<UniqueFd> {
                                       auto socket = Bind(transport);
                                       NPG_RETURN_IF_ERROR(BecomeNobody());
                                       return socket;
                                     })));
      if (before) {
        NPG_ASSERT_OK(StartGuard());
      }
      ExpectGuarded(transport);
      NPG_ASSERT_OK(Unload());
    }
  }
}

// As with socket activation of a service with a user of its own: over fork() and exec(), the
// process that bound the socket stays the owner.
TEST_P(GuardUntrustedOwnerTest, RootsSocketThatAnotherUserHolds) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Transport transport : kTransports) {
    for (const bool before : {false, true}) {
      SCOPED_TRACE(absl::StrCat(TransportName(transport), before ? " before" : " after"));
      if (!before) {
        NPG_ASSERT_OK(StartGuard());
      }
      NPG_ASSERT_OK_AND_ASSIGN(UniqueFd socket, Bind(transport));
      UniqueFd inherited(dup(socket.get()));  // without close-on-exec
      NPG_ASSERT_OK_AND_ASSIGN(const ChildProcess service, SleepAsNobody());
      socket.Reset();
      inherited.Reset();
      if (before) {
        NPG_ASSERT_OK(StartGuard());
      }
      NPG_EXPECT_OK(Connect({"127.0.0.1", kPort, transport}));
      EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 1U);
      NPG_ASSERT_OK(Restart({}));
      NPG_EXPECT_OK(Connect({"127.0.0.1", kPort, transport}));
      EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 1U);
      NPG_ASSERT_OK(Unload());
    }
  }
}

// The kernel refuses the second bind() of a socket only after the program has run.
TEST_P(GuardUntrustedOwnerTest, ABindOfABoundSocketChangesNothing) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK(StartGuard());
    {
      NPG_ASSERT_OK_AND_ASSIGN(const Served theirs,
                               Serve(transport, BoundAfter(BecomeNobody, transport)));
      NPG_ASSERT_OK_AND_ASSIGN(const auto before, maps().OwnerOn(theirs.socket.get()));
      ASSERT_TRUE(before.has_value());
      EXPECT_FALSE(BindTo(theirs.socket.get(), kOtherPort).ok());
      NPG_ASSERT_OK_AND_ASSIGN(const auto after, maps().OwnerOn(theirs.socket.get()));
      ASSERT_TRUE(after.has_value());
      EXPECT_EQ(after->uid, kNobodyUid);
      EXPECT_EQ(after->pid, before->pid);
      EXPECT_EQ(after->asked_port, kPort);
      ExpectLeftAlone(transport);
    }
    NPG_ASSERT_OK_AND_ASSIGN(const Served ours, Serve(transport, Bind(transport)));
    NPG_ASSERT_OK_AND_ASSIGN(const std::string said, RunInFork([&ours]() -> std::string {
                               if (!BecomeNobody().ok()) return "still root";
                               return BindTo(ours.socket.get(), kOtherPort).ok() ? "bound"
                                                                                 : "refused";
                             }));
    EXPECT_EQ(said, "refused");
    NPG_ASSERT_OK_AND_ASSIGN(const auto after, maps().OwnerOn(ours.socket.get()));
    ASSERT_TRUE(after.has_value());
    EXPECT_EQ(after->uid, 0U);
    EXPECT_EQ(after->asked_port, kPort);
    ExpectGuarded(transport);
    NPG_ASSERT_OK(Unload());
  }
}

// The record of a bind() that failed is replaced by that of the one that did not.
TEST_P(GuardUntrustedOwnerTest, TheBindThatSucceedsDecides) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  for (const Transport transport : kTransports) {
    SCOPED_TRACE(TransportName(transport));
    NPG_ASSERT_OK_AND_ASSIGN(const UniqueFd taken, Bind(transport, kOtherPort));
    NPG_ASSERT_OK_AND_ASSIGN(UniqueFd socket, OpenSocket(AF_INET, transport));
    NPG_ASSERT_OK_AND_ASSIGN(const std::string said, RunInFork([&socket]() -> std::string {
                               if (!BecomeNobody().ok()) return "still root";
                               return BindTo(socket.get(), kOtherPort).ok() ? "bound" : "refused";
                             }));
    ASSERT_EQ(said, "refused");
    NPG_ASSERT_OK(BindTo(socket.get(), kPort));
    NPG_ASSERT_OK(StartToListen(socket.get(), transport));
    NPG_ASSERT_OK_AND_ASSIGN(const Served host, Serve(transport, std::move(socket)));
    ExpectGuarded(transport);
  }
}

TEST_P(GuardUntrustedOwnerTest, InAGuardedCgroup) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Transport transport : kTransports) {
    for (const bool before : {false, true}) {
      SCOPED_TRACE(absl::StrCat(TransportName(transport), before ? " before" : " after"));
      if (!before) {
        NPG_ASSERT_OK(StartGuard({"--guard-cgroup", OwnCgroup()}));
      }
      NPG_ASSERT_OK_AND_ASSIGN(const Served host,
                               Serve(transport, BoundAfter(BecomeNobody, transport)));
      if (before) {
        NPG_ASSERT_OK(StartGuard({"--guard-cgroup", OwnCgroup()}));
      }
      ExpectGuarded(transport);
      EXPECT_EQ(JsonOf({"status"})["conflicts"][0]["verdict"], "guarded");
      NPG_ASSERT_OK(Restart({"--guard-cgroup", OwnCgroup() + "-other/**"}));
      ExpectLeftAlone(transport);
      NPG_ASSERT_OK(Unload());
    }
  }
}

// As for each pod and each start of a unit.
TEST_P(GuardUntrustedOwnerTest, InACgroupThatIsMadeWhileTheGuardRuns) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--guard-cgroup", OwnCgroup() + "/serving-*"}));
  for (const Transport transport : kTransports) {
    for (const bool below : {false, true}) {
      SCOPED_TRACE(absl::StrCat(TransportName(transport), below ? ", below it" : ""));
      const std::string name = absl::StrCat(transport == Transport::kUdp ? "udp" : "tcp", below);
      NPG_ASSERT_OK_AND_ASSIGN(std::string served, node().cgroup().MakeChild("serving-" + name));
      if (below) {
        NPG_ASSERT_OK_AND_ASSIGN(served, node().cgroup().MakeChild("serving-" + name + "/below"));
      }
      NPG_ASSERT_OK_AND_ASSIGN(const std::string other, node().cgroup().MakeChild("other-" + name));
      const auto in = [](const std::string& cgroup) {
        return [cgroup]() -> absl::Status {
          NPG_RETURN_IF_ERROR(TestCgroup::Enter(cgroup));
          return BecomeNobody();
        };
      };
      {
        NPG_ASSERT_OK_AND_ASSIGN(const Served host,
                                 Serve(transport, BoundAfter(in(served), transport)));
        EXPECT_TRUE(WaitUntil(absl::Seconds(10), [transport] {
          return Ask({"127.0.0.1", kPort, transport}) == kHost;
        }));
        EXPECT_TRUE(transport != Transport::kUdp || WaitUntil(absl::Seconds(10), [] {
                      return AskByDatagram("127.0.0.1", kPort) == kHost;
                    }));
      }
      ASSERT_TRUE(transport != Transport::kUdp || DatagramsAreLeftAlone(kPort));
      Counted(NPG_COUNTER_EXEMPTED);
      Counted(NPG_COUNTER_UNTRUSTED_OWNER);
      NPG_ASSERT_OK_AND_ASSIGN(const Served host,
                               Serve(transport, BoundAfter(in(other), transport)));
      ExpectLeftAlone(transport);
    }
  }
}

// CRI-O holds hostPorts, and serves streams on a port that the kernel picked.
TEST_P(GuardUntrustedOwnerTest, AHolderThatAlsoServes) {
  prctl(PR_SET_NAME, "crio");
  for (const bool before : {false, true}) {
    SCOPED_TRACE(before ? "before" : "after");
    NPG_ASSERT_OK(Allocate({}));
    if (!before) {
      NPG_ASSERT_OK(StartGuard());
    }
    NPG_ASSERT_OK_AND_ASSIGN(const Served held, Serve(Transport::kTcp, Bind(Transport::kTcp)));
    NPG_ASSERT_OK_AND_ASSIGN(const Served streams,
                             Serve(Transport::kTcp, Bind(Transport::kTcp, 0)));
    const uint16_t port = LocalPort(streams.socket.get());
    NPG_ASSERT_OK(Allocate(NodePorts({kPort, port})));
    if (before) {
      NPG_ASSERT_OK(StartGuard());
    }
    EXPECT_EQ(Ask({"127.0.0.1", port, Transport::kTcp}), kHost);
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 1U);
    ExpectLeftAlone(Transport::kTcp, NPG_COUNTER_IGNORED_OWNER);
    const Json explained = JsonOf({"explain", absl::StrCat(port, "/tcp")});
    EXPECT_EQ(explained["walks"][0]["rows"][5]["fact"],
              "guarded: --guard-uid names 0, --ignore-process names crio, but it asked for any "
              "port");
    NPG_ASSERT_OK(Restart({}));
    EXPECT_EQ(Ask({"127.0.0.1", port, Transport::kTcp}), kHost);
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 1U);
    ExpectLeftAlone(Transport::kTcp, NPG_COUNTER_IGNORED_OWNER);
    NPG_ASSERT_OK(Unload());
  }
}

// As that of a DNS forwarder, which waits for an answer.
TEST_P(GuardUntrustedOwnerTest, ADatagramSocketOnAnAutomaticPortIsNoListener) {
  for (const bool before : {false, true}) {
    SCOPED_TRACE(before ? "before" : "after");
    NPG_ASSERT_OK(Allocate({}));
    if (!before) {
      NPG_ASSERT_OK(StartGuard());
    }
    NPG_ASSERT_OK_AND_ASSIGN(const Served host, Serve(Transport::kUdp, Bind(Transport::kUdp, 0)));
    const uint16_t port = LocalPort(host.socket.get());
    NPG_ASSERT_OK(Allocate(NodePorts({port})));
    if (before) {
      NPG_ASSERT_OK(StartGuard());
    }
    ExpectLeftAlone(Transport::kUdp, NPG_COUNTER_NO_LISTENER, port);
    EXPECT_THAT(JsonOf({"status"})["conflicts"], SizeIs(0));
    NPG_ASSERT_OK(Restart({"--guard-uid", "any"}));
    ExpectLeftAlone(Transport::kUdp, NPG_COUNTER_NO_LISTENER, port);
    NPG_ASSERT_OK(Unload());
  }
}

// Two sockets of one port have a record each: a user's socket neither takes the connects to
// root's, nor those to the Service.
TEST_P(GuardUntrustedOwnerTest, AnAutomaticPortThatWasAListeners) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  {
    NPG_ASSERT_OK_AND_ASSIGN(const Served host, Serve(Transport::kUdp, Bind(Transport::kUdp)));
    ExpectGuarded(Transport::kUdp);
  }
  // At once, so that the controller may not have seen the end of the listener.
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", absl::StrCat(kPort, " ", kPort)));
  NPG_ASSERT_OK_AND_ASSIGN(const Served other,
                           Serve(Transport::kUdp, SocketOfFork([]() -> absl::StatusOr<UniqueFd> {
                                   NPG_RETURN_IF_ERROR(BecomeNobody());
                                   return Bind(Transport::kUdp, 0);
                                 })));
  // The client needs a port, too.
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "40000 60999"));
  ASSERT_EQ(LocalPort(other.socket.get()), kPort);
  // The record by address stays longer than the entry in the nft table.
  ASSERT_TRUE(DatagramsAreLeftAlone(kPort));
  EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kUdp}), Hijacked());
  EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 1U);
}

TEST_P(GuardUntrustedOwnerTest, BesideAListenerOfRoot) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const bool before : {false, true}) {
    SCOPED_TRACE(before ? "before" : "after");
    if (!before) {
      NPG_ASSERT_OK(StartGuard());
    }
    NPG_ASSERT_OK_AND_ASSIGN(const auto roots, Host({{"127.0.0.2", kPort}}));
    NPG_ASSERT_OK_AND_ASSIGN(const Served theirs,
                             Serve(Transport::kTcp, BoundAfter(BecomeNobody, Transport::kTcp)));
    if (before) {
      NPG_ASSERT_OK(StartGuard());
    }
    EXPECT_EQ(Ask({"127.0.0.2", kPort, Transport::kTcp}), kHost);
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 1U);
    ExpectLeftAlone(Transport::kTcp);
    NPG_ASSERT_OK(Unload());
  }
}

// Sockets of kNobodyUid on kPort, each on an address of its own. They belong to a thread that has
// this user; the process is root's.
std::vector<UniqueFd> ManyOfNobody(size_t count, Transport transport) {
  std::vector<UniqueFd> sockets;
  std::thread([&] {
    if (syscall(SYS_setresuid, kNobodyUid, kNobodyUid, kNobodyUid) != 0) return;
    for (size_t i = 0; i < count; ++i) {
      auto socket = OpenSocket(AF_INET, transport);
      const auto address = MakeAddress(absl::StrCat("127.1.", i / 256, ".", i % 256), kPort);
      if (!socket.ok() || !address.ok()) return;
      if (bind(socket->get(), address->get(), address->size) != 0) return;
      if (!StartToListen(socket->get(), transport).ok()) return;
      sockets.push_back(*std::move(socket));
    }
  }).join();
  return sockets;
}

TEST_P(GuardUntrustedOwnerTest, OtherUsersCannotFillTheMaps) {
  constexpr size_t kCount = 2000;
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  for (const Transport transport : kTransports) {
    for (const bool before : {false, true}) {
      SCOPED_TRACE(absl::StrCat(TransportName(transport), before ? " before" : " after"));
      if (!before) {
        NPG_ASSERT_OK(StartGuard());
      }
      const std::vector<UniqueFd> theirs = ManyOfNobody(kCount, transport);
      ASSERT_EQ(theirs.size(), kCount);
      NPG_ASSERT_OK_AND_ASSIGN(const auto roots, Host({{"127.0.0.1", kPort, transport}}));
      if (before) {
        NPG_ASSERT_OK(StartGuard());
      }
      EXPECT_EQ(Ask({"127.0.0.1", kPort, transport}), kHost);
      EXPECT_EQ(Ask({"127.1.0.1", kPort, transport}), Hijacked());
      NPG_ASSERT_OK_AND_ASSIGN(const dataplane::GuardState state,
                               dataplane::GuardState::Open(dataplane::PinPaths(node().bpffs())));
      NPG_ASSERT_OK_AND_ASSIGN(const size_t entries, state.CountEarlierSockets());
      EXPECT_LE(entries, 2U) << "root's, at most";
      NPG_ASSERT_OK(Unload());
    }
  }
}

// The owner of a socket that became a listener without a bind() is who holds it, not only who
// made it: root's socket may have been passed on before.
TEST_P(GuardUntrustedOwnerTest, AListenerWithoutBindThatAnotherUserHolds) {
  for (const bool passed_on : {false, true}) {
    SCOPED_TRACE(passed_on ? "passed on" : "root's");
    NPG_ASSERT_OK(Allocate({}));
    NPG_ASSERT_OK(StartGuard());
    NPG_ASSERT_OK_AND_ASSIGN(UniqueFd socket, OpenSocket(AF_INET, Transport::kTcp));
    UniqueFd inherited(passed_on ? dup(socket.get()) : -1);  // without close-on-exec
    NPG_ASSERT_OK_AND_ASSIGN(const ChildProcess service, SleepAsNobody());
    inherited.Reset();
    NPG_ASSERT_OK(StartToListen(socket.get(), Transport::kTcp));
    const uint16_t port = LocalPort(socket.get());
    NPG_ASSERT_OK(Allocate(NodePorts({port})));
    const Dial there{"127.0.0.1", port, Transport::kTcp};
    if (passed_on) {
      // Each makes the controller look, at the latest after some seconds of looking in vain.
      const absl::Time end = absl::Now() + absl::Seconds(1);
      while (absl::Now() < end) EXPECT_EQ(Ask(there), Hijacked());
      EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
    } else {
      EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&] {
        return Connect(there).ok() && Counted(NPG_COUNTER_EXEMPTED) == 1;
      })) << "guarded as soon as the controller has looked";
    }
    NPG_ASSERT_OK(Unload());
  }
}

TEST_P(GuardUntrustedOwnerTest, ForgetsTheCgroupsOfTheFormerRun) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--guard-cgroup", OwnCgroup()}));
  NPG_ASSERT_OK_AND_ASSIGN(const Served host,
                           Serve(Transport::kTcp, BoundAfter(BecomeNobody, Transport::kTcp)));
  ExpectGuarded(Transport::kTcp);
  NPG_ASSERT_OK(Restart({"--guard-cgroup", "/npg-test-no-such-cgroup/**"}));
  ExpectLeftAlone(Transport::kTcp);
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardUntrustedOwnerTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft}), RuleShapeName);

}  // namespace
}  // namespace npg::testing::untrusted_owner_test
