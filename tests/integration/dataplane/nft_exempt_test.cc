// SPDX-License-Identifier: Apache-2.0
// Marked connections over loopback bypass NAT and `ctstate NEW` rules, in nft and in
// iptables-legacy. All other connections meet them.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_table.h"
#include "integration/dataplane/nft_fixture.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/net_namespace.h"
#include "testing/status_asserts.h"
#include "testing/stream.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::dataplane::nft_exempt_test {
namespace {

using testing::Ask;
using testing::Dial;
using testing::EchoServer;
using testing::RunCommand;
using testing::Transport;

constexpr uint16_t kPodPort = 8080;
constexpr uint16_t kClientNodePort = 30101;

// The rules that hijack connections.
struct Hijack {
  std::string variant;  // "nft", "legacy"
  bool reject = false;  // REJECT of ctstate NEW on INPUT; else REDIRECT on OUTPUT
  bool drop_invalid = false;
};

class NftExemptTest : public NftTest, public ::testing::WithParamInterface<Hijack> {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    std::vector<testing::Listen> host;
    std::vector<testing::Listen> pod;
    for (const std::string address : {"127.0.0.1", "::1"}) {
      for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
        host.push_back({address, kPort, transport});
        pod.push_back({address, kPodPort, transport});
      }
    }
    NPG_ASSERT_OK_AND_ASSIGN(host_, EchoServer::Start("host", host));
    NPG_ASSERT_OK_AND_ASSIGN(pod_, EchoServer::Start("pod", pod));
    for (const std::string& program : Programs()) {
      for (const std::string protocol : {"tcp", "udp"}) {
        // The source port of a client may be a NodePort, too.
        for (const uint16_t port : {kPort, kClientNodePort})
          NPG_ASSERT_OK(Take(program, protocol, port));
      }
      if (GetParam().drop_invalid) {
        NPG_ASSERT_OK(RunCommand({program, "-w", "-A", "INPUT", "-m", "conntrack", "--ctstate",
                                  "INVALID", "-j", "DROP"}));
      }
    }
  }

  static std::vector<std::string> Programs() {
    return {absl::StrCat("iptables-", GetParam().variant),
            absl::StrCat("ip6tables-", GetParam().variant)};
  }

  static absl::Status Take(const std::string& program, const std::string& protocol, uint16_t port) {
    std::vector<std::string> rule = {program, "-w"};
    const auto append = [&rule](const std::vector<std::string>& words) {
      rule.insert(rule.end(), words.begin(), words.end());
    };
    if (GetParam().reject) {
      append({"-I", "INPUT", "-m", "conntrack", "--ctstate", "NEW"});
    } else {
      append({"-t", "nat", "-A", "OUTPUT"});
    }
    append({"-p", protocol, "--dport", absl::StrCat(port), "-j"});
    if (GetParam().reject) {
      append({"REJECT"});
    } else {
      append({"REDIRECT", "--to-ports", absl::StrCat(kPodPort)});
    }
    return RunCommand(rule).status();
  }

  static std::string Hijacked() { return GetParam().reject ? "refused" : "pod"; }

  static std::vector<Dial> Dials() {
    std::vector<Dial> dials;
    for (const std::string destination : {"127.0.0.1", "::1", "::ffff:127.0.0.1"}) {
      for (const Transport transport : {Transport::kTcp, Transport::kUdp, Transport::kMptcp}) {
        if (transport == Transport::kMptcp && !testing::OpenSocket(AF_INET, transport).ok()) {
          continue;  // no MPTCP, as in Linux 5.10
        }
        dials.push_back({destination, kPort, transport});
      }
    }
    return dials;
  }

  std::unique_ptr<EchoServer> host_, pod_;
};

INSTANTIATE_TEST_SUITE_P(
    Rules, NftExemptTest,
    ::testing::Values(Hijack{"nft", false, false}, Hijack{"nft", true, false},
                      Hijack{"nft", false, true}, Hijack{"nft", true, true},
                      Hijack{"legacy", false, false}, Hijack{"legacy", true, false},
                      Hijack{"legacy", false, true}, Hijack{"legacy", true, true}),
    [](const auto& rules) {
      return absl::StrCat(rules.param.variant, rules.param.reject ? "_reject" : "_redirect",
                          rules.param.drop_invalid ? "_drop_invalid" : "");
    });

TEST_P(NftExemptTest, OnlyMarkedConnectsReachTheHost) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  std::vector<std::function<std::string()>> unmarked;
  for (const Dial& dial : Dials()) {
    SCOPED_TRACE(testing::ToString(dial));
    Dial marked = dial;
    marked.mark = kMark | 0x4;
    EXPECT_EQ(Ask(marked), "host");
    unmarked.emplace_back([dial] { return Ask(dial); });
  }
  EXPECT_EQ(Tracked(kPort), "");
  const std::vector<std::string> answers = testing::AskAll(unmarked);
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(answers[i], Hijacked()) << testing::ToString(Dials()[i]);
  }
  // Without the table, marked connects are hijacked, too.
  NPG_ASSERT_OK(table->Remove());
  Dial marked = Dials()[0];
  marked.mark = kMark;
  EXPECT_EQ(Ask(marked), Hijacked());
}

TEST_P(NftExemptTest, RepliesToANodePortAreNotHijacked) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  for (Dial dial : Dials()) {
    SCOPED_TRACE(testing::ToString(dial));
    dial.mark = kMark;
    dial.source_port = kClientNodePort;
    dial.source = dial.destination;
    NPG_ASSERT_OK_AND_ASSIGN(const auto stream, testing::Stream::Open(dial));
    EXPECT_EQ(stream->server(), "host");
    NPG_EXPECT_OK(stream->Exchange(1 << 20));
    NPG_EXPECT_OK(stream->Receive(*host_, 5000));
    if (dial.transport == Transport::kTcp) {
      NPG_EXPECT_OK(stream->Finish());
    }
  }
  EXPECT_EQ(Tracked(kClientNodePort), "");
  EXPECT_EQ(Tracked(kPort), "");
}

// The table drops the first SYN of the second connect, which would else be taken for a packet of
// the first connection.
TEST_P(NftExemptTest, AnUnmarkedConnectOnTheTupleOfAnExemptOneIsHijacked) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  Dial dial{"127.0.0.1", kPort};
  dial.mark = kMark;
  dial.source = "127.0.0.1";
  dial.source_port = kOtherPort;
  NPG_ASSERT_OK_AND_ASSIGN(auto client, testing::Connect(dial));
  EXPECT_EQ(testing::AskWho(client.get(), Transport::kTcp), "host");
  Reset(client);  // without TIME_WAIT, so that the tuple is free
  dial.mark = 0;
  EXPECT_EQ(Ask(dial), Hijacked());
}

TEST_P(NftExemptTest, AStreamSurvivesARestartWithAnotherMark) {
  NPG_ASSERT_OK_AND_ASSIGN(auto table, NftTable::Install({}));
  Dial dial{"127.0.0.1", kPort};
  dial.mark = kMark;
  dial.source = "127.0.0.1";
  dial.source_port = kClientNodePort;
  NPG_ASSERT_OK_AND_ASSIGN(const auto stream, testing::Stream::Open(dial));
  NPG_EXPECT_OK(stream->Exchange(100000));
  table.reset();
  NPG_EXPECT_OK(stream->Exchange(100000));
  NPG_ASSERT_OK_AND_ASSIGN(table, NftTable::Install({0x2000, 0x2000}));
  NPG_EXPECT_OK(stream->Receive(*host_, 100000));
  NPG_EXPECT_OK(stream->Exchange(100000));
  NPG_EXPECT_OK(stream->Finish());
}

// Packets on other interfaces are still tracked and translated, marked or not: another
// program may use the bit there.
TEST_P(NftExemptTest, LeavesPacketsOnOtherInterfacesAlone) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto far, testing::NetNamespace::Create());
  NPG_ASSERT_OK(RunCommand(
      {"ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far.Path()}));
  NPG_ASSERT_OK(RunCommand({"ip", "address", "add", "10.9.0.1/24", "dev", "near"}));
  NPG_ASSERT_OK(RunCommand({"ip", "link", "set", "near", "up"}));
  NPG_ASSERT_OK(far.Run([] {
    const auto address = RunCommand({"ip", "address", "add", "10.9.0.2/24", "dev", "far"});
    if (!address.ok()) return address.status();
    return RunCommand({"ip", "link", "set", "far", "up"}).status();
  }));
  NPG_ASSERT_OK_AND_ASSIGN(const auto server,
                           EchoServer::Start("far", {{"10.9.0.2", kOtherPort}}, &far));
  // A DNAT as for a Service.
  NPG_ASSERT_OK(RunCommand({Programs()[0], "-w", "-t", "nat", "-A", "OUTPUT", "-d", "10.9.0.2",
                            "-p", "tcp", "--dport", "80", "-j", "DNAT", "--to-destination",
                            absl::StrCat("10.9.0.2:", kOtherPort)}));
  Dial dial{"10.9.0.2", 80};
  dial.mark = kMark;
  dial.source_port = 30200;
  // The other end of the veth pair may not be up yet.
  EXPECT_TRUE(testing::WaitUntil(absl::Seconds(10), [&] { return Ask(dial) == "far"; }));
  EXPECT_NE(Tracked(30200), "");
  EXPECT_EQ(EntryCount("tcp4"), 0U);
  const auto state = ReadNftTable();
  NPG_ASSERT_OK(state);
  EXPECT_EQ(state->exempted_packets, 0U);
}

}  // namespace
}  // namespace npg::dataplane::nft_exempt_test
