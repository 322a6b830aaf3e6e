// SPDX-License-Identifier: Apache-2.0
// NftTable::Cover() and CoverOnly(): the table considers packets from and to certain blocks of
// ports only.
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/netlink_socket.h"
#include "base/nft_generation.h"
#include "base/unique_fd.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "core/port_blocks.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_table.h"
#include "integration/dataplane/nft_fixture.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/run_loop.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"

namespace npg::dataplane::nft_cover_test {
namespace {

using core::PortBlocks;
using testing::RunCommand;
using testing::Transport;

// Each in another block, none of them in that of NftTest::kPort, which is the default one, and none
// in that of kClientPort.
constexpr uint16_t kFarPort = 21000;
constexpr std::array<uint16_t, 2> kMorePorts{5000, 13000};
constexpr uint16_t kOneTooMany = 37000;
constexpr uint16_t kNeverCovered = 45100;
constexpr uint16_t kClientPort = 53000;
// In the default block.
constexpr uint16_t kClientNodePort = 30123;

PortBlocks DefaultAnd(std::initializer_list<uint16_t> ports) {
  PortBlocks blocks = PortBlocks::Default();
  for (const uint16_t port : ports) blocks.Add(port);
  return blocks;
}

// A server and a client that is connected to it.
struct Connection {
  base::UniqueFd listener;
  Pair pair;

  int client() const { return pair.client.get(); }
  int server() const { return pair.server ? pair.server.get() : listener.get(); }
};

class NftCoverTest : public NftTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
    // Conntrack registers its hooks with the first rule that needs it.
    NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, R"(
      table inet needs_conntrack {
        chain input {
          type filter hook input priority 0
          ct state invalid counter drop
        }
      })"));
  }

  virtual std::string Address() const { return "127.0.0.1"; }
  virtual Transport Protocol() const { return Transport::kTcp; }

  absl::StatusOr<Connection> Open(uint16_t port, uint16_t client_port, uint32_t mark = kMark) {
    auto listener = Listening(Address(), port, Protocol());
    if (!listener.ok()) return listener.status();
    testing::Dial dial{Address(), port, Protocol()};
    dial.source = Address();
    dial.source_port = client_port;
    dial.mark = mark;
    auto pair = Connected(dial, listener->get());
    if (!pair.ok()) return pair.status();
    const timeval timeout{5, 0};
    for (const int fd : {listener->get(), pair->client.get()}) {
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    }
    if (Protocol() == Transport::kUdp) {
      const absl::Status status =
          testing::ConnectAgain(listener->get(), Address(), pair->flow.client_port);
      if (!status.ok()) return status;
    }
    return Connection{*std::move(listener), *std::move(pair)};
  }

  // The last data acknowledge those before: later, the client sends no marked ACK, which would add
  // an entry that a test has removed.
  static absl::Status SendBothWays(const Connection& connection) {
    absl::Status status = Send(connection.client(), connection.server());
    status.Update(Send(connection.server(), connection.client()));
    status.Update(Send(connection.client(), connection.server()));
    return status;
  }

  // The entries of conntrack, whichever side sent the first packet that it saw.
  static std::string TrackedOf(const Connection& connection) {
    return Tracked(connection.pair.flow.client_port) + Tracked(connection.pair.flow.server_port);
  }

  // Conntrack may have seen a late ACK while the rules were others.
  static void ForgetTracked() { NPG_EXPECT_OK(RunCommand({"conntrack", "-F"})); }

  // Expects that conntrack sees no packet of either direction.
  static void ExpectUntracked(const Connection& connection) {
    ForgetTracked();
    NPG_EXPECT_OK(SendBothWays(connection));
    EXPECT_EQ(TrackedOf(connection), "");
  }

  void ExpectExempt(const Connection& connection) {
    ExpectUntracked(connection);
    NPG_ASSERT_OK_AND_ASSIGN(const bool known, table_->Knows(connection.pair.flow));
    EXPECT_TRUE(known);
  }

  // Expects that the table does nothing with the packets of either direction.
  void ExpectNotExempt(const Connection& connection) {
    ForgetTracked();
    const uint64_t exempted = State().exempted_packets;
    NPG_EXPECT_OK(SendBothWays(connection));
    EXPECT_NE(TrackedOf(connection), "");
    EXPECT_EQ(State().exempted_packets, exempted);
    NPG_ASSERT_OK_AND_ASSIGN(const bool known, table_->Knows(connection.pair.flow));
    EXPECT_FALSE(known);
  }

  // Expects that the table's rules are those of `blocks`, and of no others.
  static void ExpectBlocks(PortBlocks blocks, bool owned = false) {
    EXPECT_TRUE(HasRulesOf(blocks, owned));
    for (const PortBlocks other :
         {PortBlocks::Default(), PortBlocks::All(), DefaultAnd({kFarPort})}) {
      EXPECT_EQ(HasRulesOf(other, owned), other.Prefixes() == blocks.Prefixes());
    }
  }

  // As an end of all flows.
  static void RemoveEntries() {
    for (const NftSetSpec& set : kNftSets) {
      if (!set.has_flows()) continue;
      NPG_EXPECT_OK(
          RunCommand({"nft", "flush", "set", "inet", "nodeport_guard", std::string(set.name)}));
    }
    EXPECT_EQ(State().flow_entries, 0U);
  }

  static uint32_t Generation() {
    auto socket = base::NetlinkSocket::Open(NETLINK_NETFILTER);
    NPG_EXPECT_OK(socket);
    const auto generation = base::NftGeneration(*socket);
    NPG_EXPECT_OK(generation);
    return generation.value_or(0);
  }

  std::unique_ptr<NftTable> table_;

 private:
  static bool HasRulesOf(PortBlocks blocks, bool owned) {
    NftSettings settings = Unprotected();
    settings.blocks = blocks;
    return Intact(settings, owned);
  }
};

// An address family and a protocol.
struct Way {
  std::string name;
  std::string address;
  Transport transport;
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class NftCoverWayTest : public NftCoverTest, public ::testing::WithParamInterface<Way> {
 protected:
  std::string Address() const override { return GetParam().address; }
  Transport Protocol() const override { return GetParam().transport; }
};

INSTANTIATE_TEST_SUITE_P(Ways, NftCoverWayTest,
                         ::testing::Values(Way{"tcp4", "127.0.0.1", Transport::kTcp},
                                           Way{"tcp6", "::1", Transport::kTcp},
                                           Way{"udp4", "127.0.0.1", Transport::kUdp},
                                           Way{"udp6", "::1", Transport::kUdp}),
                         [](const auto& way) { return way.param.name; });

TEST_P(NftCoverWayTest, APortOutsideTheBlocksIsExemptOnceItIsCovered) {
  ExpectBlocks(PortBlocks::Default());
  {
    NPG_ASSERT_OK_AND_ASSIGN(const Connection usual, Open(kPort, kClientPort));
    ExpectExempt(usual);
  }
  RemoveEntries();
  {
    NPG_ASSERT_OK_AND_ASSIGN(const Connection early, Open(kFarPort, kClientPort + 1));
    ExpectNotExempt(early);
    EXPECT_EQ(State().flow_entries, 0U);
  }
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  ExpectBlocks(DefaultAnd({kFarPort}));
  NPG_ASSERT_OK_AND_ASSIGN(const Connection covered, Open(kFarPort, kClientPort + 2));
  ExpectExempt(covered);
  // The other blocks stay, and no other is added.
  NPG_ASSERT_OK_AND_ASSIGN(const Connection usual, Open(kPort, kClientPort + 3));
  ExpectExempt(usual);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection other, Open(kNeverCovered, kClientPort + 4));
  ExpectNotExempt(other);
  // The exemption is still by the mark.
  NPG_ASSERT_OK_AND_ASSIGN(const Connection unmarked,
                           Open(kFarPort + 1, kClientPort + 5, /*mark=*/0));
  ExpectNotExempt(unmarked);
}

// Both directions have a destination among the NodePorts.
TEST_P(NftCoverWayTest, AClientWhosePortIsAmongNodePortsToo) {
  NPG_ASSERT_OK_AND_ASSIGN(const Connection marked, Open(kPort, kClientNodePort));
  ExpectExempt(marked);
  if (Protocol() == Transport::kTcp) {
    // By the entry alone, which the client's direction finds by the reversed tuple.
    const uint32_t none = 0;
    ASSERT_EQ(setsockopt(marked.client(), SOL_SOCKET, SO_MARK, &none, sizeof(none)), 0);
    ExpectExempt(marked);
  }
  NPG_ASSERT_OK_AND_ASSIGN(const Connection unmarked,
                           Open(kPort + 1, kClientNodePort + 1, /*mark=*/0));
  ExpectNotExempt(unmarked);
  // Without its entry, a reply is tracked.
  RemoveEntries();
  NPG_EXPECT_OK(Send(marked.server(), marked.client()));
  EXPECT_NE(TrackedOf(marked), "");
}

TEST_P(NftCoverWayTest, AClientWhosePortAloneIsAmongNodePorts) {
  NPG_ASSERT_OK_AND_ASSIGN(const Connection connection, Open(kFarPort, kClientNodePort));
  ExpectNotExempt(connection);
  EXPECT_EQ(State().flow_entries, 0U);
  // It is the server's port that counts.
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  NPG_ASSERT_OK_AND_ASSIGN(const Connection covered, Open(kFarPort + 1, kClientNodePort + 1));
  ExpectExempt(covered);
}

// Until the controller knows the NodePorts, a connection of any port may be one that is exempt.
TEST_P(NftCoverWayTest, AnAdoptedTableConsidersEveryPort) {
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  NPG_ASSERT_OK_AND_ASSIGN(const Connection live, Open(kFarPort, kClientPort));
  ExpectExempt(live);
  table_.reset();
  NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
  EXPECT_TRUE(table_->adopted());
  ExpectBlocks(PortBlocks::All());
  if (Protocol() == Transport::kTcp) {
    const uint32_t none = 0;
    ASSERT_EQ(setsockopt(live.client(), SOL_SOCKET, SO_MARK, &none, sizeof(none)), 0);
  }
  ExpectExempt(live);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection other, Open(kNeverCovered, kClientPort + 1));
  ExpectExempt(other);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection unmarked,
                           Open(kFarPort + 1, kClientPort + 2, /*mark=*/0));
  ExpectNotExempt(unmarked);
  // A new table knows no flow.
  NPG_ASSERT_OK(table_->Remove());
  NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
  ExpectBlocks(PortBlocks::Default());
  NPG_ASSERT_OK_AND_ASSIGN(const Connection later, Open(kFarPort + 2, kClientPort + 3));
  ExpectNotExempt(later);
}

TEST_P(NftCoverWayTest, CoverOnlyKeepsTheBlocksOfLiveConnections) {
  NPG_ASSERT_OK(table_->Cover(DefaultAnd({kFarPort, kNeverCovered})));
  NPG_ASSERT_OK_AND_ASSIGN(const Connection live, Open(kFarPort, kClientPort));
  ExpectExempt(live);
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  ExpectBlocks(DefaultAnd({kFarPort}));
  ExpectExempt(live);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection other, Open(kNeverCovered, kClientPort + 1));
  ExpectNotExempt(other);

  RemoveEntries();
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  ExpectBlocks(PortBlocks::Default());
  ExpectNotExempt(live);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection usual, Open(kPort, kClientPort + 2));
  ExpectExempt(usual);
}

TEST_P(NftCoverWayTest, CoverOnlyDropsTheBlocksOfConnectionsThatAreGone) {
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  NPG_ASSERT_OK_AND_ASSIGN(Connection connection, Open(kFarPort, kClientPort));
  ExpectExempt(connection);
  const core::Flow flow = connection.pair.flow;
  // Old, as in a table of an earlier build: both directions, so either port may be the server's.
  NPG_ASSERT_OK(SetFlowExpiry(flow, absl::Hours(1)));
  connection = Connection();
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  ExpectBlocks(DefaultAnd({kFarPort, kClientPort}));
  // Not young, even if the last segments have given it the timeout of a closed connection.
  NPG_ASSERT_OK(SetFlowExpiry(flow, absl::Hours(1)));
  NPG_ASSERT_OK(table_->Reconcile({}, {}));
  EXPECT_EQ(FlowExpiry(flow).reversed, absl::ZeroDuration());
  if (Protocol() == Transport::kTcp) RemoveEntries();  // of half-closed connections
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  ExpectBlocks(PortBlocks::Default());
  NPG_ASSERT_OK_AND_ASSIGN(const Connection later, Open(kFarPort + 1, kClientPort + 1));
  ExpectNotExempt(later);
}

// A flow that outlived its table, to what need not be a NodePort any more.
TEST_P(NftCoverWayTest, ReconcileCoversTheServersOfLiveFlows) {
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  NPG_ASSERT_OK_AND_ASSIGN(const Connection live, Open(kFarPort, kClientPort));
  NPG_ASSERT_OK_AND_ASSIGN(const Connection usual, Open(kPort, kClientPort + 1));
  NPG_ASSERT_OK(table_->Remove());
  NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
  NPG_ASSERT_OK(table_->Reconcile({usual.pair.flow}, {}));
  ExpectBlocks(PortBlocks::Default());
  NPG_ASSERT_OK_AND_ASSIGN(bool known, table_->Knows(live.pair.flow));
  EXPECT_FALSE(known);
  NPG_ASSERT_OK(table_->Reconcile({usual.pair.flow, live.pair.flow}, {}));
  ExpectBlocks(DefaultAnd({kFarPort}));
  ExpectExempt(live);
  ExpectExempt(usual);
}

TEST_P(NftCoverWayTest, MoreBlocksThanRulesMeansEveryPort) {
  const PortBlocks most = DefaultAnd({kFarPort, kMorePorts[0], kMorePorts[1]});
  ASSERT_EQ(most.Prefixes().size(), PortBlocks::kMaxPrefixes);
  NPG_ASSERT_OK(table_->Cover(most));
  ExpectBlocks(most);
  uint16_t client_port = kClientPort;
  for (const uint16_t port : {kPort, kFarPort, kMorePorts[0], kMorePorts[1]}) {
    SCOPED_TRACE(port);
    NPG_ASSERT_OK_AND_ASSIGN(const Connection covered, Open(port, client_port++));
    ExpectExempt(covered);
  }
  NPG_ASSERT_OK_AND_ASSIGN(const Connection before, Open(kNeverCovered, client_port++));
  ExpectNotExempt(before);

  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kOneTooMany)));
  ExpectBlocks(PortBlocks::All());
  NPG_ASSERT_OK_AND_ASSIGN(const Connection after, Open(kNeverCovered + 1, client_port++));
  ExpectExempt(after);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection both, Open(kNeverCovered + 2, kClientNodePort));
  ExpectExempt(both);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection unmarked,
                           Open(kNeverCovered + 3, client_port++, /*mark=*/0));
  ExpectNotExempt(unmarked);
}

TEST_F(NftCoverTest, CoveredBlocksNeedNoTransaction) {
  const uint32_t start = Generation();
  NPG_ASSERT_OK(table_->Cover(PortBlocks()));
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kPort + 1)));
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  EXPECT_EQ(Generation(), start);
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  const uint32_t covered = Generation();
  EXPECT_NE(covered, start);
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort + 1)));
  NPG_ASSERT_OK(table_->CoverOnly(DefaultAnd({kFarPort})));
  EXPECT_EQ(Generation(), covered);
  // Also when only the entries of a live connection keep a block.
  NPG_ASSERT_OK_AND_ASSIGN(const Connection live, Open(kFarPort, kClientPort));
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  EXPECT_EQ(Generation(), covered);
  RemoveEntries();
  const uint32_t without = Generation();
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  EXPECT_NE(Generation(), without);
}

TEST_F(NftCoverTest, TheTableStaysOwned) {
  NPG_ASSERT_OK(table_->Remove());
  NPG_ASSERT_OK_AND_ASSIGN(table_, NftTable::Install({}));
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  ExpectBlocks(DefaultAnd({kFarPort}), KernelProtects());
  EXPECT_EQ(State().owner_portid != 0, KernelProtects());
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  ExpectBlocks(PortBlocks::Default(), KernelProtects());
  EXPECT_EQ(State().owner_portid != 0, KernelProtects());
}

TEST_F(NftCoverTest, OnATableThatIsGone) {
  NPG_ASSERT_OK(RunCommand({"nft", "delete", "table", "inet", "nodeport_guard"}));
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  ExpectBlocks(DefaultAnd({kFarPort}));
  NPG_ASSERT_OK_AND_ASSIGN(const Connection covered, Open(kFarPort, kClientPort));
  ExpectExempt(covered);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection other, Open(kNeverCovered, kClientPort + 1));
  ExpectNotExempt(other);
}

// While the table is watched, it gets the entries of live flows back, too, and keeps the blocks
// when it is restored later.
TEST_F(NftCoverTest, OnAWatchedTableThatIsGone) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto loop, base::EventLoop::Create());
  NPG_ASSERT_OK_AND_ASSIGN(const Connection live, Open(kPort, kClientPort));
  int restored = 0;
  NPG_ASSERT_OK(table_->Guard(
      *loop, [&] { return std::vector<core::Flow>{live.pair.flow}; },
      [&](const absl::Status& status) {
        NPG_EXPECT_OK(status);
        ++restored;
        loop->Stop();
      }));
  NPG_ASSERT_OK(RunCommand({"nft", "delete", "table", "inet", "nodeport_guard"}));
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  EXPECT_EQ(restored, 0);
  ExpectBlocks(DefaultAnd({kFarPort}));
  NPG_ASSERT_OK_AND_ASSIGN(const bool known, table_->Knows(live.pair.flow));
  EXPECT_TRUE(known);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection covered, Open(kFarPort, kClientPort + 1));
  ExpectExempt(covered);

  loop->After(absl::ZeroDuration(), [] {
    NPG_EXPECT_OK(RunCommand({"nft", "flush", "chain", "inet", "nodeport_guard", "output"}));
  });
  NPG_EXPECT_OK(testing::RunLoop(*loop));
  EXPECT_EQ(restored, 1);
  ExpectBlocks(DefaultAnd({kFarPort}));
  ExpectExempt(covered);
}

// What the kernel has refused counts as not covered.
TEST_F(NftCoverTest, RefusedBlocksAreTriedAgain) {
  if (!KernelProtects()) GTEST_SKIP() << "this kernel lacks NFT_TABLE_F_PERSIST";
  NPG_ASSERT_OK_AND_ASSIGN(auto owner, NftTable::Install({}));
  NPG_ASSERT_OK(owner->CoverOnly(PortBlocks::Default()));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(absl::IsPermissionDenied(table_->Cover(PortBlocks::Of(kFarPort))));
    ExpectBlocks(PortBlocks::Default(), /*owned=*/true);
  }
  owner.reset();
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  ExpectBlocks(DefaultAnd({kFarPort}));
}

// A datagram target: the name of the test, an address, and whether all of 127.0.0.0/8 are targets.
struct Target {
  std::string name;
  std::string address;
  bool any_loopback = false;

  core::DatagramTargets At(uint16_t port) const {
    core::DatagramTargets targets;
    if (any_loopback) {
      targets.loopback4.insert(port);
    } else if (address == "::1") {
      std::array<uint8_t, 16> bytes{};
      bytes[15] = 1;
      targets.addresses.emplace(bytes, port);
    } else {
      targets.addresses.emplace(
          std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}, port);
    }
    return targets;
  }
};

void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

class NftCoverTargetTest : public NftCoverTest, public ::testing::WithParamInterface<Target> {
 protected:
  std::string Address() const override { return GetParam().address; }
  Transport Protocol() const override { return Transport::kUdp; }
};

INSTANTIATE_TEST_SUITE_P(Targets, NftCoverTargetTest,
                         ::testing::Values(Target{"ipv4", "127.0.0.1"}, Target{"ipv6", "::1"},
                                           Target{"any_loopback", "127.0.0.5", true}),
                         [](const auto& target) { return target.param.name; });

TEST_P(NftCoverTargetTest, CoverOnlyKeepsTheBlocksOfTargetsAndTheirClients) {
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  NPG_ASSERT_OK(table_->SetDatagramTargets(GetParam().At(kFarPort)));
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  ExpectBlocks(DefaultAnd({kFarPort}));
  NPG_ASSERT_OK_AND_ASSIGN(const Connection datagrams, Open(kFarPort, kClientPort, /*mark=*/0));
  ExpectUntracked(datagrams);
  NPG_ASSERT_OK_AND_ASSIGN(const Connection other, Open(kFarPort + 1, kClientPort + 1, /*mark=*/0));
  ExpectNotExempt(other);

  // The answer to a datagram that has been exempt stays so.
  NPG_ASSERT_OK(table_->SetDatagramTargets({}));
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  ExpectBlocks(DefaultAnd({kFarPort}));
  NPG_EXPECT_OK(Send(datagrams.server(), datagrams.client()));
  EXPECT_EQ(Tracked(datagrams.pair.flow.server_port), "");

  RemoveEntries();
  NPG_ASSERT_OK(table_->CoverOnly(PortBlocks::Default()));
  ExpectBlocks(PortBlocks::Default());
  NPG_EXPECT_OK(Send(datagrams.server(), datagrams.client()));
  EXPECT_NE(Tracked(datagrams.pair.flow.server_port), "");
}

// As the controller does, which knows the NodePorts, but not the targets, right after its start.
TEST_P(NftCoverTargetTest, ATargetOfACoveredBlockAfterCoverOnly) {
  NPG_ASSERT_OK(table_->Cover(PortBlocks::Of(kFarPort)));
  NPG_ASSERT_OK(table_->CoverOnly(DefaultAnd({kFarPort})));
  NPG_ASSERT_OK_AND_ASSIGN(const Connection early, Open(kFarPort, kClientPort, /*mark=*/0));
  ExpectNotExempt(early);
  NPG_ASSERT_OK(table_->SetDatagramTargets(GetParam().At(kFarPort)));
  NPG_EXPECT_OK(Send(early.client(), early.server()));
  EXPECT_GT(State().exempted_packets, 0U);
}

}  // namespace
}  // namespace npg::dataplane::nft_cover_test
