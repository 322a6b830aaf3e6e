// SPDX-License-Identifier: Apache-2.0
// The entries of a flow live as long as its connection, and a few seconds longer.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/flow.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_table.h"
#include "integration/dataplane/nft_fixture.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::dataplane::nft_flow_test {
namespace {

using testing::Transport;

// At least this much of the full timeout remains while a test runs.
constexpr absl::Duration kLong = absl::Hours(24 * 365 - 1);

constexpr std::array<uint8_t, 16> kIpv4Loopback{0, 0, 0,    0,    0,   0, 0, 0,
                                                0, 0, 0xff, 0xff, 127, 0, 0, 1};
constexpr std::array<uint8_t, 16> kIpv6Loopback{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

// A way to connect over loopback.
struct Way {
  std::string name;
  std::string listen;
  std::string destination;
};

class NftFlowTest : public NftTest, public ::testing::WithParamInterface<Way> {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
    NPG_ASSERT_OK_AND_ASSIGN(listener_, Listening(GetParam().listen, kPort, Transport::kTcp));
    // Conntrack registers its hooks with the first rule that needs it.
    NPG_ASSERT_OK(testing::RunCommand({"nft", "-f", "-"}, R"(
      table inet needs_conntrack {
        chain input {
          type filter hook input priority 0
          ct state invalid counter drop
        }
      })"));
  }

  testing::Dial Dial(uint16_t source_port = 0) const {
    testing::Dial dial{GetParam().destination, kPort};
    dial.mark = kMark;
    dial.source_port = source_port;
    return dial;
  }

  absl::StatusOr<Pair> Open(const testing::Dial& dial) { return Connected(dial, listener_.get()); }

  // Expects an entry for the replies with the full timeout, and no entry of conntrack.
  void ExpectAlive(const Pair& pair) {
    const Expiry expiry = FlowExpiry(pair.flow);
    EXPECT_EQ(expiry.as_sent, absl::ZeroDuration()) << "an element for each connection is enough";
    EXPECT_GT(expiry.reversed, kLong);
    EXPECT_EQ(Tracked(pair.flow.client_port), "");
    EXPECT_EQ(Tracked(pair.flow.server_port), "");
  }

  // Waits, because a FIN and the ACK of it are still in flight after close().
  void ExpectExpiring(const core::Flow& flow) {
    Expiry expiry;
    EXPECT_TRUE(testing::WaitUntil(absl::Seconds(10),
                                   [&] {
                                     expiry = FlowExpiry(flow);
                                     return expiry.reversed <= kClosedTimeout;
                                   }))
        << "reversed: " << expiry.reversed;
    EXPECT_GT(expiry.reversed, absl::ZeroDuration()) << "the last segments find it";
    EXPECT_EQ(expiry.as_sent, absl::ZeroDuration());
  }

  std::unique_ptr<NftTable> table_;
  base::UniqueFd listener_;
};

INSTANTIATE_TEST_SUITE_P(Ways, NftFlowTest,
                         ::testing::Values(Way{"ipv4", "127.0.0.1", "127.0.0.1"},
                                           Way{"ipv6", "::1", "::1"},
                                           Way{"mapped", "127.0.0.1", "::ffff:127.0.0.1"},
                                           Way{"wildcard", "::", "127.0.0.5"}),
                         [](const auto& way) { return way.param.name; });

TEST_P(NftFlowTest, SilentConnectionKeepsItsEntries) {
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open(Dial()));
  ExpectAlive(pair);
  // Packets do not shorten the timeout.
  NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
  NPG_EXPECT_OK(Send(pair.server.get(), pair.client.get()));
  ExpectAlive(pair);
}

TEST_P(NftFlowTest, EntriesExpireAfterBothFins) {
  for (const bool client_first : {true, false}) {
    SCOPED_TRACE(client_first ? "client closes first" : "server closes first");
    NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Open(Dial()));
    ExpectAlive(pair);
    base::UniqueFd& first = client_first ? pair.client : pair.server;
    base::UniqueFd& second = client_first ? pair.server : pair.client;
    first.Reset();
    char byte = 0;
    EXPECT_EQ(recv(second.get(), &byte, 1, 0), 0);
    second.Reset();
    ExpectExpiring(pair.flow);
    EXPECT_EQ(Tracked(pair.flow.client_port), "");
  }
}

TEST_P(NftFlowTest, EntriesExpireAfterReset) {
  for (const bool by_client : {true, false}) {
    SCOPED_TRACE(by_client ? "client resets" : "server resets");
    NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Open(Dial()));
    ExpectAlive(pair);
    Reset(by_client ? pair.client : pair.server);
    ExpectExpiring(pair.flow);
  }
}

// A client that set its own mark: its FIN and its RST end the flow, too.
TEST_P(NftFlowTest, EntriesExpireWhenAClientWithoutItsMarkCloses) {
  const uint32_t other = 0x8;
  for (const bool reset : {false, true}) {
    SCOPED_TRACE(reset ? "RST" : "FIN");
    NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Open(Dial()));
    ASSERT_EQ(setsockopt(pair.client.get(), SOL_SOCKET, SO_MARK, &other, sizeof(other)), 0);
    ExpectAlive(pair);
    if (reset) {
      Reset(pair.client);
    } else {
      pair.client.Reset();
      char byte = 0;
      EXPECT_EQ(recv(pair.server.get(), &byte, 1, 0), 0);
      EXPECT_GT(HalfClosedExpiry(pair.flow).as_sent, kLong);
      ExpectAlive(pair);
      pair.server.Reset();
    }
    ExpectExpiring(pair.flow);
    EXPECT_EQ(Tracked(pair.flow.client_port), "");
  }
}

// The entries of both directions that an earlier build left.
TEST_P(NftFlowTest, BothEntriesOfAnEarlierBuildExpire) {
  for (const bool by_client : {true, false}) {
    SCOPED_TRACE(by_client ? "client resets" : "server resets");
    NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Open(Dial()));
    NPG_ASSERT_OK(SetFlowExpiry(pair.flow, kTcpTimeout));
    EXPECT_GT(FlowExpiry(pair.flow).as_sent, kLong);
    Reset(by_client ? pair.client : pair.server);
    EXPECT_TRUE(testing::WaitUntil(absl::Seconds(10), [&] {
      const Expiry expiry = FlowExpiry(pair.flow);
      return expiry.as_sent <= kClosedTimeout && expiry.reversed <= kClosedTimeout;
    }));
  }
}

TEST_P(NftFlowTest, EntriesOfARefusedConnectExpireSoon) {
  listener_.Reset();
  const testing::Dial dial = Dial(30123);
  EXPECT_EQ(testing::Ask(dial), "refused");
  EXPECT_EQ(EntryCount(GetParam().name == "ipv6" ? "tcp6" : "tcp4"), 1U);
  core::Flow flow;
  flow.protocol = IPPROTO_TCP;
  flow.client_port = dial.source_port;
  flow.server_port = dial.port;
  if (GetParam().name == "ipv6") {
    flow.client_address = flow.server_address = kIpv6Loopback;
  } else {
    flow.client_address = flow.server_address = kIpv4Loopback;
    if (GetParam().name == "wildcard") flow.server_address.back() = 5;
  }
  ExpectExpiring(flow);
}

TEST_P(NftFlowTest, HalfClosedConnectionKeepsItsEntries) {
  for (const bool client_first : {true, false}) {
    SCOPED_TRACE(client_first ? "client shuts down" : "server shuts down");
    NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Open(Dial()));
    const int first = client_first ? pair.client.get() : pair.server.get();
    const int second = client_first ? pair.server.get() : pair.client.get();
    ASSERT_EQ(shutdown(first, SHUT_WR), 0);
    char byte = 0;
    EXPECT_EQ(recv(second, &byte, 1, 0), 0);
    const Expiry half = HalfClosedExpiry(pair.flow);
    EXPECT_GT(client_first ? half.as_sent : half.reversed, kLong);
    EXPECT_EQ(client_first ? half.reversed : half.as_sent, absl::ZeroDuration());
    for (int i = 0; i < 3; ++i) NPG_EXPECT_OK(Send(second, first));
    ExpectAlive(pair);
    // Once the other direction ends, the connection is closed.
    ASSERT_EQ(shutdown(second, SHUT_WR), 0);
    ExpectExpiring(pair.flow);
    const Expiry over = HalfClosedExpiry(pair.flow);
    EXPECT_LE(client_first ? over.as_sent : over.reversed, kClosedTimeout);
    // The second FIN needs no entry of its own.
    EXPECT_EQ(client_first ? over.reversed : over.as_sent, absl::ZeroDuration());
  }
}

TEST_P(NftFlowTest, ReusedTupleGetsNewEntries) {
  constexpr uint16_t kClientPort = 30123;
  NPG_ASSERT_OK_AND_ASSIGN(Pair first, Open(Dial(kClientPort)));
  // Closes both directions and leaves no TIME_WAIT that would block the next connect.
  ASSERT_EQ(shutdown(first.server.get(), SHUT_WR), 0);
  char byte = 0;
  EXPECT_EQ(recv(first.client.get(), &byte, 1, 0), 0);
  Reset(first.client);
  first.server.Reset();
  ExpectExpiring(first.flow);

  NPG_ASSERT_OK_AND_ASSIGN(Pair second, Open(Dial(kClientPort)));
  ASSERT_EQ(first.flow, second.flow);
  ExpectAlive(second);
  // The FIN of the first connection expires, although the connection lives.
  EXPECT_TRUE(testing::WaitUntil(absl::Seconds(10), [&] {
    const Expiry half = HalfClosedExpiry(second.flow);
    return half.as_sent == absl::ZeroDuration() && half.reversed == absl::ZeroDuration();
  }));
  ExpectAlive(second);
  // The first FIN of the new connection counts as the first.
  ASSERT_EQ(shutdown(second.client.get(), SHUT_WR), 0);
  EXPECT_EQ(recv(second.server.get(), &byte, 1, 0), 0);
  ExpectAlive(second);
}

TEST_P(NftFlowTest, UnmarkedConnectFromAReusedPortIsNotExempt) {
  constexpr uint16_t kClientPort = 30123;
  NPG_ASSERT_OK_AND_ASSIGN(Pair first, Open(Dial(kClientPort)));
  Reset(first.client);
  first.server.Reset();
  ExpectExpiring(first.flow);

  testing::Dial unmarked = Dial(kClientPort);
  unmarked.mark = 0;
  // The first SYN ends the entry, the second one is tracked.
  NPG_ASSERT_OK_AND_ASSIGN(const Pair second, Open(unmarked));
  ASSERT_EQ(first.flow, second.flow);
  EXPECT_EQ(FlowExpiry(second.flow).as_sent, absl::ZeroDuration());
  EXPECT_EQ(FlowExpiry(second.flow).reversed, absl::ZeroDuration());
  EXPECT_NE(Tracked(kClientPort), "");
  NPG_EXPECT_OK(Send(second.client.get(), second.server.get()));
  NPG_EXPECT_OK(Send(second.server.get(), second.client.get()));
}

TEST_P(NftFlowTest, ClientThatLosesItsMarkStaysExempt) {
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open(Dial()));
  const uint32_t other = 0x8;
  ASSERT_EQ(setsockopt(pair.client.get(), SOL_SOCKET, SO_MARK, &other, sizeof(other)), 0);
  NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
  NPG_EXPECT_OK(Send(pair.server.get(), pair.client.get()));
  ExpectAlive(pair);
}

TEST_P(NftFlowTest, MarkedPacketRestoresMissingEntries) {
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open(Dial()));
  for (const char* set : {"tcp4", "tcp6"}) {
    NPG_ASSERT_OK(testing::RunCommand({"nft", "flush", "set", "inet", "nodeport_guard", set}));
  }
  EXPECT_EQ(FlowExpiry(pair.flow).reversed, absl::ZeroDuration());
  NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
  ExpectAlive(pair);
}

TEST_P(NftFlowTest, EndOfAFlowKeepsThatOfTheOtherFamily) {
  // The other flow uses the same two ports in the other address family.
  constexpr uint16_t kClientPort = 30123;
  const bool ipv6 = GetParam().name == "ipv6";
  listener_.Reset();
  NPG_ASSERT_OK_AND_ASSIGN(listener_, Listening("::", kPort, Transport::kTcp));
  testing::Dial other = Dial(kClientPort);
  other.destination = ipv6 ? "127.0.0.1" : "::1";
  other.source = other.destination;
  testing::Dial dial = Dial(kClientPort);
  dial.source = ipv6 ? "::1" : "127.0.0.1";
  if (GetParam().name == "mapped") dial.source = "::ffff:127.0.0.1";
  NPG_ASSERT_OK_AND_ASSIGN(const Pair living, Open(other));
  NPG_ASSERT_OK_AND_ASSIGN(Pair closed, Open(dial));
  Reset(closed.client);
  ExpectExpiring(closed.flow);
  NPG_EXPECT_OK(Send(living.server.get(), living.client.get()));
  ExpectAlive(living);
}

TEST_P(NftFlowTest, LateMarkedSegmentDoesNotRefreshEntries) {
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open(Dial()));
  NPG_ASSERT_OK(SetFlowExpiry(pair.flow, absl::Seconds(20)));
  NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
  NPG_EXPECT_OK(Send(pair.server.get(), pair.client.get()));
  EXPECT_LE(FlowExpiry(pair.flow).as_sent, absl::Seconds(20));
  EXPECT_LE(FlowExpiry(pair.flow).reversed, absl::Seconds(20));
}

TEST_P(NftFlowTest, FullSetStillExemptsTheClientsDirection) {
  NftSettings tiny = Unprotected();
  tiny.set_size = 1;
  NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(tiny));
  // To conntrack, the replies are of no connection that it knows.
  NPG_ASSERT_OK(testing::RunCommand({"nft", "flush", "chain", "inet", "needs_conntrack", "input"}));
  NPG_ASSERT_OK(testing::RunCommand(
      {"nft", "add", "rule", "inet", "needs_conntrack", "input", "ct", "state", "new", "counter"}));
  NPG_ASSERT_OK_AND_ASSIGN(Pair first, Open(Dial()));
  NPG_ASSERT_OK_AND_ASSIGN(const Pair second, Open(Dial()));
  EXPECT_GT(FlowExpiry(first.flow).reversed, kLong);
  EXPECT_EQ(FlowExpiry(second.flow).reversed, absl::ZeroDuration());
  NPG_EXPECT_OK(Send(second.client.get(), second.server.get()));
  EXPECT_EQ(Tracked(second.flow.client_port), "");
  // The FIN of a connection without an entry enters nothing: no FIN of the server would end it.
  NPG_ASSERT_OK_AND_ASSIGN(Pair third, Open(Dial()));
  third.client.Reset();
  char byte = 0;
  EXPECT_EQ(recv(third.server.get(), &byte, 1, 0), 0);
  EXPECT_EQ(HalfClosedExpiry(third.flow).as_sent, absl::ZeroDuration());
  // As soon as there is room, the next packet enters the flow.
  NPG_ASSERT_OK(table_->Reconcile({}, {}));
  NPG_ASSERT_OK(testing::RunCommand({"nft", "flush", "set", "inet", "nodeport_guard", "tcp4"}));
  NPG_ASSERT_OK(testing::RunCommand({"nft", "flush", "set", "inet", "nodeport_guard", "tcp6"}));
  NPG_EXPECT_OK(Send(second.client.get(), second.server.get()));
  EXPECT_GT(FlowExpiry(second.flow).reversed, kLong);
}

TEST_P(NftFlowTest, UdpIsRefreshedByEitherDirection) {
  const auto server = Listening(GetParam().listen, kPort, Transport::kUdp);
  NPG_ASSERT_OK(server);
  testing::Dial dial = Dial();
  dial.transport = Transport::kUdp;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open(dial));
  ASSERT_EQ(send(pair.client.get(), "?", 1, 0), 1);
  // Only the direction of the replies has an entry, because the client may connect again
  // to a Service and keeps its source port.
  EXPECT_EQ(FlowExpiry(pair.flow).as_sent, absl::ZeroDuration());
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kUdpTimeout - absl::Minutes(10));

  std::array<char, 16> bytes{};
  testing::SocketAddress from;
  from.size = sizeof(from.storage);
  ASSERT_EQ(recvfrom(server->get(), bytes.data(), bytes.size(), 0, from.get(), &from.size), 1);
  const auto expect_refreshed = [&] {
    EXPECT_GT(FlowExpiry(pair.flow).reversed, kUdpTimeout - absl::Minutes(10));
  };
  NPG_ASSERT_OK(SetFlowExpiry(pair.flow, absl::Hours(1)));
  ASSERT_EQ(send(pair.client.get(), "?", 1, 0), 1);
  expect_refreshed();
  NPG_ASSERT_OK(SetFlowExpiry(pair.flow, absl::Hours(1)));
  // A wildcard socket would reply from another address.
  if (GetParam().name != "wildcard") {
    ASSERT_EQ(sendto(server->get(), "!", 1, 0, from.get(), from.size), 1);
    ASSERT_EQ(recv(pair.client.get(), bytes.data(), bytes.size(), 0), 1);
    expect_refreshed();
  }
  EXPECT_EQ(Tracked(pair.flow.client_port), "");
  EXPECT_EQ(Tracked(pair.flow.server_port), "");
}

}  // namespace
}  // namespace npg::dataplane::nft_flow_test
