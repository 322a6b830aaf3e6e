// SPDX-License-Identifier: Apache-2.0
// Kinds of client and listener sockets: MPTCP, TCP Fast Open, io_uring, SO_REUSEPORT
// groups, and clients with their own mark, user or cgroup. Each connect is hijacked
// without the guard and reaches the listener with it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/status_asserts.h"
#include "testing/test_cgroup.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::testing::client_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint32_t kGuardMark = 0x1000;

WayToAsk By(const Dial& dial, const std::string& name = "") {
  return {absl::StrCat(name, " ", ToString(dial)), [dial] { return Ask(dial); }};
}

class GuardClientTest : public GuardTest {};

TEST_P(GuardClientTest, MptcpOnEitherSide) {
  constexpr uint16_t kMptcpPort = 33590;
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                                  {"127.0.0.1", kMptcpPort, Transport::kMptcp},
                                                  {"::", kMptcpPort + 1, Transport::kMptcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kMptcpPort, kMptcpPort + 1})));
  std::vector<WayToAsk> ways = {By({"127.0.0.1", kPort, Transport::kMptcp})};
  for (const Transport transport : {Transport::kTcp, Transport::kMptcp}) {
    for (const char* destination : {"127.0.0.1", "::ffff:127.0.0.1"}) {
      ways.push_back(By({destination, kMptcpPort, transport}, "MPTCP listener,"));
      ways.push_back(By({destination, kMptcpPort + 1, transport}, "MPTCP listener on [::],"));
    }
  }
  ExpectHijackedThenRescued(ways);
}

TEST_P(GuardClientTest, TcpFastOpen) {
  // 3: for clients and servers. Timeout 0: a lost SYN does not disable it for a while.
  NPG_ASSERT_OK(SetSysctl("net/ipv4/tcp_fastopen", "3"));
  NPG_ASSERT_OK(SetSysctl("net/ipv4/tcp_fastopen_blackhole_timeout_sec", "0"));
  Listen listener{"0.0.0.0", kPort};
  listener.fast_open = true;
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({listener}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  std::vector<Dial> dials;
  std::vector<WayToAsk> ways;
  for (const Method method : {Method::kFastOpenSend, Method::kFastOpenConnect}) {
    for (const char* destination : {"127.0.0.1", "::ffff:127.0.0.5"}) {
      Dial dial{destination, kPort};
      dial.method = method;
      dials.push_back(dial);
      ways.push_back(
          By(dial, method == Method::kFastOpenSend ? "MSG_FASTOPEN" : "FASTOPEN_CONNECT"));
    }
  }
  // The first connect of each client obtains the Fast Open cookie ...
  ExpectHijackedThenRescued(ways);
  // ... with which the second sends data in its SYN, which must already carry the mark.
  for (const Dial& dial : dials) {
    SCOPED_TRACE(ToString(dial));
    NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(dial));
    EXPECT_EQ(AskWho(fd.get(), dial.transport), kHost);
    EXPECT_TRUE(SynCarriedData(fd.get()));
  }
}

TEST_P(GuardClientTest, IoUringByCallerAndByWorkerThread) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                                  {"127.0.0.1", kPort, Transport::kUdp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  std::vector<WayToAsk> ways;
  for (const Method method : {Method::kUring, Method::kUringWorker}) {
    for (const Transport transport : Transports()) {
      for (const char* destination : {"127.0.0.1", "::ffff:127.0.0.1"}) {
        Dial dial{destination, kPort, transport};
        dial.method = method;
        ways.push_back(By(dial, method == Method::kUring ? "caller" : "worker"));
      }
    }
  }
  ExpectHijackedThenRescued(ways);
}

TEST_P(GuardClientTest, ReuseportGroup) {
  std::vector<Listen> group;
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    for (int member = 0; member < 4; ++member) {
      group.push_back({"127.0.0.1", kPort, transport, /*reuse_port=*/true});
    }
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(group));
  NPG_ASSERT_OK_AND_ASSIGN(auto second_process, Host(group));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  const Dial tcp{"127.0.0.1", kPort, Transport::kTcp};
  const Dial udp{"127.0.0.1", kPort, Transport::kUdp};
  ExpectHijackedThenRescued({By(tcp), By(udp)});
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(Ask(tcp), kHost);
    EXPECT_EQ(Ask(udp), kHost);
  }
  for (const size_t first : {0U, 4U}) {
    int serving = 0;
    for (size_t member = first; member < first + 4; ++member) {
      if (host->served(member) > 0) ++serving;
    }
    EXPECT_GT(serving, 1) << "the group still balances its connections";
  }
  second_process.reset();
  for (int i = 0; i < 64; ++i) {
    EXPECT_EQ(Ask(tcp), kHost) << "part of the group is closed";
    EXPECT_EQ(Ask(udp), kHost) << "part of the group is closed";
  }
}

TEST_P(GuardClientTest, AddsItsBitToTheMarkOfTheClient) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                                  {"127.0.0.1", kPort, Transport::kUdp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  std::vector<Dial> dials;
  std::vector<WayToAsk> ways;
  for (const Transport transport : Transports()) {
    for (const char* destination : {"127.0.0.1", "::ffff:127.0.0.1"}) {
      for (const uint32_t mark : {0x0U, 0x42U, 0x80000001U}) {
        Dial dial{destination, kPort, transport};
        dial.mark = mark;
        dials.push_back(dial);
        ways.push_back(By(dial, absl::StrCat("mark ", mark)));
      }
    }
  }
  ExpectHijackedThenRescued(ways);
  dials.push_back(dials.front());
  dials.back().mark = kGuardMark | 0x42U;
  for (const Dial& dial : dials) {
    SCOPED_TRACE(absl::StrCat(ToString(dial), " mark ", dial.mark));
    // The table exempts UDP to this listener by its destination (udp_mark_test.cc has more).
    const uint32_t expected =
        dial.transport == Transport::kUdp ? dial.mark : dial.mark | kGuardMark;
    // The test reads the mark of the packets, because an MPTCP socket does not
    // have the mark of its subflow.
    const std::string mark = absl::StrCat(expected);
    NPG_ASSERT_OK(
        RunCommand({"nft", "-f", "-"},
                   absl::StrReplaceAll(R"(
      add table inet npg_probe
      delete table inet npg_probe
      table inet npg_probe {
        counter marked {
        }
        chain output {
          type filter hook output priority 0;
          th dport $port meta mark $mark counter name marked
        }
      })",
                                       {{"$mark", mark}, {"$port", absl::StrCat(kPort)}})));
    NPG_ASSERT_OK_AND_ASSIGN(const auto fd, Connect(dial));
    EXPECT_EQ(AskWho(fd.get(), dial.transport), kHost);
    if (dial.transport != Transport::kMptcp) {
      EXPECT_EQ(MarkOf(fd.get()), expected);
    }
    NPG_ASSERT_OK_AND_ASSIGN(const std::string counter,
                             RunCommand({"nft", "list", "counter", "inet", "npg_probe", "marked"}));
    EXPECT_THAT(counter, ::testing::Not(::testing::HasSubstr("packets 0")));
  }
}

TEST_P(GuardClientTest, UnprivilegedClient) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                                  {"127.0.0.1", kPort, Transport::kUdp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  const auto as_nobody = [](Transport transport) -> std::string {
    const auto answer = RunInFork([transport]() -> std::string {
      // The change of the user id drops the capabilities.
      if (setresgid(kNobodyUid, kNobodyUid, kNobodyUid) != 0 ||
          setresuid(kNobodyUid, kNobodyUid, kNobodyUid) != 0) {
        return "cannot change the user";
      }
      return Ask({"127.0.0.1", kPort, transport});
    });
    return answer.ok() ? *answer : answer.status().ToString();
  };
  std::vector<WayToAsk> ways;
  for (const Transport transport : Transports()) {
    ways.push_back({std::string(TransportName(transport)),
                    [&as_nobody, transport] { return as_nobody(transport); }});
  }
  ExpectHijackedThenRescued(ways);
}

TEST_P(GuardClientTest, ClientInNestedCgroup) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                                  {"127.0.0.1", kPort, Transport::kUdp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(node().cgroup().MakeChild("kubepods"));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string before, node().cgroup().MakeChild("kubepods/before"));
  const auto in_group = [](const std::string& group, Transport transport) -> std::string {
    const auto answer = RunInFork([&group, transport]() -> std::string {
      const absl::Status moved = TestCgroup::Enter(group);
      return moved.ok() ? Ask({"127.0.0.1", kPort, transport}) : moved.ToString();
    });
    return answer.ok() ? *answer : answer.status().ToString();
  };
  ExpectHijackedThenRescued({{"TCP", [&] { return in_group(before, Transport::kTcp); }},
                             {"UDP", [&] { return in_group(before, Transport::kUdp); }}});
  // A pod that starts later is in a cgroup that is newer than the guard.
  NPG_ASSERT_OK_AND_ASSIGN(const std::string later, node().cgroup().MakeChild("kubepods/later"));
  EXPECT_EQ(in_group(later, Transport::kTcp), kHost);
  EXPECT_EQ(in_group(later, Transport::kUdp), kHost);
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardClientTest, ::testing::ValuesIn(RuleShapes()), RuleShapeName);

}  // namespace
}  // namespace npg::testing::client_test
