// SPDX-License-Identifier: Apache-2.0
// NftTable::SetIpvsBypass(), on any kernel: rules that take packets where IPVS
// does, by their destination, whatever conntrack says of them, stand for IPVS.
// guard/ipvs_test.cc tests with IPVS itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/datagram_targets.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_table.h"
#include "integration/dataplane/nft_fixture.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/echo_server.h"
#include "testing/status_asserts.h"
#include "testing/stream.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::dataplane::nft_ipvs_test {
namespace {

using testing::Ask;
using testing::Dial;
using testing::EchoServer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RunCommand;
using testing::Transport;

constexpr uint16_t kClientPort = 30101;

// Rejects at the priority of the last hook of IPVS.
constexpr absl::string_view kLikeIpvs = R"(
  table inet like_ipvs {
    chain local_in { type filter hook input priority 99;
      ip daddr { 127.0.0.1, 127.0.0.5, 10.9.9.9 } th dport { 31589, 31590, 30101 } reject
      ip6 daddr { ::1, 2001:db8::9 } th dport 31590 reject
    }
  })";
// Counts packets by their address between the two hooks of the table: at the first hook of IPVS
// and after its last one. `after` counts packets whose address was not restored.
constexpr absl::string_view kCounts = R"(
  table ip counts {
    counter bypassed { }
    counter plain { }
    counter after { }
    chain first { type filter hook output priority -102;
      ip daddr 111.0.0.1 counter name bypassed
      ip daddr 127.0.0.1 counter name plain
    }
    chain last { type filter hook input priority 100;
      ip daddr 111.0.0.1 counter name bypassed
      ip daddr 127.0.0.1 counter name plain
    }
    chain behind { type filter hook input priority 151;
      ip daddr 111.0.0.1 counter name after
    }
  })";

class NftIpvsTest : public NftTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(host_,
                             EchoServer::Start("host", {{"127.0.0.1", kPort, Transport::kTcp},
                                                        {"127.0.0.1", kPort, Transport::kUdp}}));
    NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, kCounts));
    NPG_ASSERT_OK_AND_ASSIGN(table_, NftTable::Install({}));
  }

  static absl::Status TakeLikeIpvs() { return RunCommand({"nft", "-f", "-"}, kLikeIpvs).status(); }

  // Packets that a counter of `kCounts` has seen.
  static uint64_t Counted(const std::string& counter) {
    const auto listed = RunCommand({"nft", "-j", "list", "counter", "ip", "counts", counter});
    NPG_EXPECT_OK(listed);
    if (!listed.ok()) return 0;
    const size_t at = listed->find("\"packets\": ");
    EXPECT_NE(at, std::string::npos) << *listed;
    return at == std::string::npos ? 0 : std::stoull(listed->substr(at + 11));
  }

  // The table without what its packets change.
  static std::string Listed() {
    const auto text = RunCommand({"nft", "-s", "list", "table", "inet", "nodeport_guard"});
    NPG_EXPECT_OK(text);
    return text.ok() ? *text : "";
  }

  static NftSettings With(bool bypass) {
    NftSettings settings;
    settings.ipvs_bypass = bypass;
    return settings;
  }

  static Dial Marked(Transport transport, const std::string& destination = "127.0.0.1") {
    Dial dial{destination, kPort, transport};
    dial.mark = kMark;
    return dial;
  }

  // The source port is also the port of an IPVS service.
  static Dial FromAService(Transport transport) {
    Dial dial = Marked(transport);
    dial.source = "127.0.0.1";
    dial.source_port = kClientPort;
    return dial;
  }

  static std::vector<Dial> Dials() {
    std::vector<Dial> dials;
    for (const std::string destination : {"127.0.0.1", "::ffff:127.0.0.1"}) {
      for (const Transport transport : {Transport::kTcp, Transport::kUdp, Transport::kMptcp}) {
        if (transport == Transport::kMptcp && !testing::OpenSocket(AF_INET, transport).ok()) {
          continue;  // Linux 5.10 has none
        }
        dials.push_back(Marked(transport, destination));
      }
    }
    return dials;
  }

  static void ExpectAnswers(absl::string_view answer, uint32_t mark) {
    std::vector<std::function<std::string()>> asks;
    for (Dial dial : Dials()) {
      dial.mark = mark;
      asks.emplace_back([dial] { return Ask(dial); });
    }
    const std::vector<std::string> answers = testing::AskAll(asks);
    for (size_t i = 0; i < answers.size(); ++i) {
      EXPECT_EQ(answers[i], answer) << testing::ToString(Dials()[i]);
    }
  }

  std::unique_ptr<EchoServer> host_;
  std::unique_ptr<NftTable> table_;
};

TEST_F(NftIpvsTest, ExemptPacketsPassAndOthersDoNot) {
  NPG_ASSERT_OK(TakeLikeIpvs());
  ExpectAnswers("refused", kMark);
  EXPECT_FALSE(State().ipvs_bypass);
  EXPECT_EQ(Counted("bypassed"), 0U);

  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  EXPECT_TRUE(table_->ipvs_bypass());
  EXPECT_TRUE(State().ipvs_bypass);
  EXPECT_TRUE(Intact(With(true), table_->owned()));
  EXPECT_FALSE(Intact(With(false), table_->owned()));
  ExpectAnswers("host", kMark);
  EXPECT_GT(Counted("bypassed"), 0U);
  EXPECT_EQ(Counted("after"), 0U);
  ExpectAnswers("refused", 0);

  NPG_ASSERT_OK(table_->SetIpvsBypass(false));
  EXPECT_FALSE(table_->ipvs_bypass());
  EXPECT_FALSE(State().ipvs_bypass);
  EXPECT_TRUE(Intact(With(false), table_->owned()));
  const uint64_t bypassed = Counted("bypassed");
  ExpectAnswers("refused", kMark);
  EXPECT_EQ(Counted("bypassed"), bypassed);
}

// Every kind of exempt packet, in both directions.
TEST_F(NftIpvsTest, BulkBothWaysFromAPortThatIsAService) {
  NPG_ASSERT_OK(TakeLikeIpvs());
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    SCOPED_TRACE(std::string(testing::TransportName(transport)));
    NPG_ASSERT_OK_AND_ASSIGN(const auto stream, testing::Stream::Open(FromAService(transport)));
    EXPECT_EQ(stream->server(), "host");
    NPG_EXPECT_OK(stream->Exchange(4 << 20));
    NPG_EXPECT_OK(stream->Receive(*host_, transport == Transport::kTcp ? 4 << 20 : 60000));
    if (transport == Transport::kTcp) {
      NPG_EXPECT_OK(stream->Finish());
    }
  }
  EXPECT_EQ(Counted("plain"), 0U);
  EXPECT_EQ(Tracked(kPort), "");
  EXPECT_EQ(Tracked(kClientPort), "");
}

TEST_F(NftIpvsTest, DatagramsOfSocketsThatAreNotConnectedPass) {
  NPG_ASSERT_OK(TakeLikeIpvs());
  core::DatagramTargets targets;
  targets.loopback4 = {kPort};
  NPG_ASSERT_OK(table_->SetDatagramTargets(targets));
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  NPG_ASSERT_OK_AND_ASSIGN(const auto client,
                           testing::DatagramClient::Open(AF_INET, "127.0.0.1", kClientPort));
  // Says so when the answer came from another address.
  EXPECT_EQ(client.Ask("127.0.0.1", kPort), "host");
  EXPECT_EQ(Counted("bypassed"), 4U);  // two datagrams, seen twice
  NPG_ASSERT_OK(table_->SetIpvsBypass(false));
  EXPECT_NE(client.Ask("127.0.0.1", kPort, testing::SendCall::kSendto, 200), "host");
}

TEST_F(NftIpvsTest, BothEndsSeeTheirOwnAddresses) {
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  const auto name = [](int fd, auto call) {
    sockaddr_in address{};
    socklen_t size = sizeof(address);
    EXPECT_EQ(call(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
    return absl::StrCat(absl::Hex(ntohl(address.sin_addr.s_addr)), ":", ntohs(address.sin_port));
  };
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener,
                           Listening("127.0.0.1", kOtherPort, Transport::kTcp));
  Dial dial = FromAService(Transport::kTcp);
  dial.port = kOtherPort;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Connected(dial, listener.get()));
  NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
  NPG_EXPECT_OK(Send(pair.server.get(), pair.client.get()));
  const std::string client = absl::StrCat("7f000001:", kClientPort);
  const std::string server = absl::StrCat("7f000001:", kOtherPort);
  EXPECT_EQ(name(pair.client.get(), getsockname), client);
  EXPECT_EQ(name(pair.client.get(), getpeername), server);
  EXPECT_EQ(name(pair.server.get(), getsockname), server);
  EXPECT_EQ(name(pair.server.get(), getpeername), client);
  // The entry has these addresses, too.
  EXPECT_GT(FlowExpiry(pair.flow).reversed, absl::ZeroDuration());
  EXPECT_EQ(EntryCount("tcp4"), 1U);
  EXPECT_GE(Counted("bypassed"), 10U);  // SYN, SYN-ACK, ACK, data of each side; seen twice
  EXPECT_EQ(Counted("plain"), 0U);

  NPG_ASSERT_OK_AND_ASSIGN(const auto bound, Listening("127.0.0.1", kOtherPort, Transport::kUdp));
  dial.transport = Transport::kUdp;
  NPG_ASSERT_OK_AND_ASSIGN(const auto sender, testing::Connect(dial));
  ASSERT_EQ(send(sender.get(), "x", 1, 0), 1);
  std::array<char, 4> byte{};
  const auto from = [&byte](int fd, sockaddr* address, socklen_t* size) {
    return recvfrom(fd, byte.data(), byte.size(), 0, address, size) == 1 ? 0 : -1;
  };
  EXPECT_EQ(name(bound.get(), from), client);
}

// IPVS may have services on any address of the node.
TEST_F(NftIpvsTest, EveryAddressOfTheNode) {
  NPG_ASSERT_OK(RunCommand({"ip", "-batch", "-"},
                           "addr add 10.9.9.9/32 dev lo\naddr add 2001:db8::9/128 dev lo nodad\n"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto host,
                           EchoServer::Start("host", {{"::", kOtherPort, Transport::kTcp},
                                                      {"::", kOtherPort, Transport::kUdp}}));
  NPG_ASSERT_OK(TakeLikeIpvs());
  const auto expect = [&](absl::string_view answer) {
    std::vector<Dial> dials;
    std::vector<std::function<std::string()>> asks;
    for (const std::string destination :
         {"127.0.0.5", "10.9.9.9", "::ffff:10.9.9.9", "::1", "2001:db8::9"}) {
      for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
        Dial dial = Marked(transport, destination);
        dial.port = kOtherPort;
        dials.push_back(dial);
        asks.emplace_back([dial] { return Ask(dial); });
      }
    }
    const std::vector<std::string> answers = testing::AskAll(asks);
    for (size_t i = 0; i < answers.size(); ++i) {
      EXPECT_EQ(answers[i], answer) << testing::ToString(dials[i]);
    }
  };
  expect("refused");
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  expect("host");
  Dial dial = Marked(Transport::kTcp, "::1");
  dial.port = kOtherPort;
  NPG_ASSERT_OK_AND_ASSIGN(const auto stream, testing::Stream::Open(dial));
  NPG_EXPECT_OK(stream->Exchange(4 << 20));
  NPG_EXPECT_OK(stream->Finish());
}

// The RST or ICMP error of a closed port has the addresses that the client used.
TEST_F(NftIpvsTest, RefusalsFindTheClient) {
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    Dial dial = Marked(transport);
    dial.port = kOtherPort;
    EXPECT_EQ(Ask(dial), "refused") << testing::ToString(dial);
  }
  EXPECT_GE(Counted("bypassed"), 4U);
}

TEST_F(NftIpvsTest, WhatIsNotExemptIsNotRewritten) {
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  ExpectAnswers("host", 0);
  EXPECT_EQ(Counted("bypassed"), 0U);
  EXPECT_GT(Counted("plain"), 0U);
  // The same for packets that a rule of another program untracks in both directions.
  NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, R"(
    table ip raw_of_others {
      chain output { type filter hook output priority -300;
        oif lo notrack
      }
    })"));
  ExpectAnswers("host", 0);
  EXPECT_EQ(Counted("bypassed"), 0U);
}

TEST_F(NftIpvsTest, WithoutItTheTableIsAsBefore) {
  const std::string before = Listed();
  EXPECT_THAT(before, Not(HasSubstr("ipvs_dodge")));
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  const std::string with = Listed();
  EXPECT_THAT(with, HasSubstr("type filter hook output priority raw - 9; policy accept;"));
  EXPECT_THAT(with, HasSubstr("ct state untracked meta mark set meta mark | 0x00001000"));
  EXPECT_THAT(with, HasSubstr("ct state untracked ip daddr set ip daddr ^ 16.0.0.0"));
  EXPECT_THAT(with, HasSubstr("type filter hook input priority 150; policy accept;"));
  EXPECT_THAT(with, HasSubstr("ct state untracked ip6 daddr set ip6 daddr ^ 1000::"));
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  EXPECT_EQ(Listed(), with);
  NPG_ASSERT_OK(table_->SetIpvsBypass(false));
  EXPECT_EQ(Listed(), before);
  NPG_ASSERT_OK(table_->SetIpvsBypass(false));
  EXPECT_EQ(Listed(), before);
}

// The change affects neither entries nor connections.
TEST_F(NftIpvsTest, AConnectionSurvivesEachChange) {
  NPG_ASSERT_OK_AND_ASSIGN(auto stream, testing::Stream::Open(FromAService(Transport::kTcp)));
  testing::BusyStream busy(std::move(stream));
  for (int round = 0; round < 10; ++round) {
    NPG_EXPECT_OK(table_->SetIpvsBypass(round % 2 == 0));
    const uint64_t before = busy.progress();
    EXPECT_TRUE(testing::WaitUntil(absl::Seconds(10), [&] { return busy.progress() > before; }));
  }
  const auto [stopped, how] = busy.Stop();
  NPG_EXPECT_OK(how);
  NPG_EXPECT_OK(stopped->Finish());
  EXPECT_GT(Counted("bypassed"), 0U);
}

// The controller adopts the table before it reads the IPVS services.
TEST_F(NftIpvsTest, AnAdoptedTableKeepsIt) {
  NPG_ASSERT_OK(TakeLikeIpvs());
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  NPG_ASSERT_OK_AND_ASSIGN(const auto stream, testing::Stream::Open(FromAService(Transport::kTcp)));
  table_.reset();
  NPG_EXPECT_OK(stream->Exchange(100000));
  NPG_ASSERT_OK_AND_ASSIGN(table_, NftTable::Install({0x2000, 0x2000}));
  EXPECT_TRUE(table_->adopted());
  EXPECT_TRUE(table_->ipvs_bypass());
  EXPECT_TRUE(State().ipvs_bypass);
  NPG_EXPECT_OK(stream->Exchange(100000));
  // The same if the two chains differ from those of this build.
  table_.reset();
  NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, R"(
    flush table inet nodeport_guard
    delete chain inet nodeport_guard ipvs_dodge_back
    delete chain inet nodeport_guard ipvs_dodge
    add chain inet nodeport_guard ipvs_dodge { type filter hook output priority -200; policy drop; }
    add rule inet nodeport_guard ipvs_dodge drop
    add chain inet nodeport_guard stranger { type filter hook input priority 5; }
    )"));
  NPG_ASSERT_OK_AND_ASSIGN(table_, NftTable::Install({}));
  EXPECT_TRUE(table_->ipvs_bypass());
  EXPECT_TRUE(Intact(With(true), table_->owned()));
  NPG_EXPECT_OK(stream->Exchange(100000));
  NPG_ASSERT_OK(table_->SetIpvsBypass(false));
  EXPECT_TRUE(Intact(With(false), table_->owned()));
}

}  // namespace
}  // namespace npg::dataplane::nft_ipvs_test
