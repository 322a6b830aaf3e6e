// SPDX-License-Identifier: Apache-2.0
// NftTable::Reconcile(): which entries it adds to and removes from the real sets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/netlink_socket.h"
#include "core/flow.h"
#include "dataplane/nft/nft_batch.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_flows.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_snapshot.h"
#include "dataplane/nft/nft_table.h"
#include "integration/dataplane/nft_fixture.h"
#include "node/sock_diag.h"
#include "testing/client.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"

namespace npg::dataplane::nft_reconcile_test {
namespace {

using ::testing::HasSubstr;

// A flow without a socket.
core::Flow MakeFlow(uint8_t protocol, bool ipv6, uint32_t number) {
  core::Flow flow;
  flow.protocol = protocol;
  if (ipv6) {
    flow.client_address[15] = flow.server_address[15] = 1;
  } else {
    flow.client_address =
        flow.server_address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
  }
  flow.client_address[14] = static_cast<uint8_t>(number >> 16);
  flow.client_port = static_cast<uint16_t>(number);
  flow.server_port = 40000;  // of all: the tuples of replies differ by the client
  return flow;
}

std::string TestName(const ::testing::TestParamInfo<std::pair<uint8_t, bool>>& info) {
  return std::string(info.param.first == IPPROTO_TCP ? "tcp" : "udp") +
         (info.param.second ? "6" : "4");
}

class NftReconcileTest : public NftTest,
                         public ::testing::WithParamInterface<std::pair<uint8_t, bool>> {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
  }

  static core::Flow Any(uint32_t number) {
    return MakeFlow(GetParam().first, GetParam().second, number);
  }
  static std::string Set() { return TestName({GetParam(), 0}); }
  static absl::Duration FullTime() {
    return GetParam().first == IPPROTO_TCP ? kTcpTimeout : kUdpTimeout;
  }

  std::unique_ptr<NftTable> table_;
};

INSTANTIATE_TEST_SUITE_P(Sets, NftReconcileTest,
                         ::testing::Values(std::pair<uint8_t, bool>{IPPROTO_TCP, false},
                                           std::pair<uint8_t, bool>{IPPROTO_TCP, true},
                                           std::pair<uint8_t, bool>{IPPROTO_UDP, false},
                                           std::pair<uint8_t, bool>{IPPROTO_UDP, true}),
                         TestName);

TEST_P(NftReconcileTest, KnowsTheFlowsThatHaveEntries) {
  NPG_ASSERT_OK(table_->Reconcile({Any(1)}, {}));
  NPG_ASSERT_OK_AND_ASSIGN(const bool entered, table_->Knows(Any(1)));
  EXPECT_TRUE(entered);
  NPG_ASSERT_OK_AND_ASSIGN(const bool other, table_->Knows(Any(2)));
  EXPECT_FALSE(other);
  NPG_ASSERT_OK(table_->Remove());
  NPG_ASSERT_OK_AND_ASSIGN(const bool without_table, table_->Knows(Any(1)));
  EXPECT_FALSE(without_table);
}

TEST_P(NftReconcileTest, AddsMissingEntries) {
  NPG_ASSERT_OK(table_->Reconcile({Any(1), Any(2)}, {}));
  for (const core::Flow& flow : {Any(1), Any(2)}) {
    // Of the replies only.
    EXPECT_EQ(FlowExpiry(flow).as_sent, absl::ZeroDuration());
    EXPECT_GT(FlowExpiry(flow).reversed, FullTime() - absl::Minutes(10));
  }
  EXPECT_EQ(EntryCount(Set()), 2U);
  // A connected flow without a mark gets no entry.
  NPG_ASSERT_OK(table_->Reconcile({}, {Any(3)}));
  EXPECT_EQ(EntryCount(Set()), 2U);
}

TEST_P(NftReconcileTest, QuietIsTrueWithoutEntries) {
  NPG_ASSERT_OK_AND_ASSIGN(bool quiet, table_->Quiet({}));
  EXPECT_TRUE(quiet);
  NPG_ASSERT_OK(table_->Reconcile({Any(1)}, {}));
  NPG_ASSERT_OK_AND_ASSIGN(quiet, table_->Quiet({}));
  EXPECT_FALSE(quiet);
}

TEST_P(NftReconcileTest, RemovesOnlyOldEntriesWithoutAConnection) {
  const core::Flow stale = Any(1);
  const core::Flow young = Any(2);
  const core::Flow marked = Any(4);
  const core::Flow unmarked = Any(5);
  const core::Flow seen_from_the_server = Any(6);
  NPG_ASSERT_OK(SetFlowExpiry(stale, FullTime() - absl::Seconds(6)));
  NPG_ASSERT_OK(SetFlowExpiry(young, FullTime() - absl::Seconds(1)));
  NPG_ASSERT_OK(SetFlowExpiry(marked, absl::Hours(1)));
  NPG_ASSERT_OK(SetFlowExpiry(unmarked, absl::Hours(1)));
  NPG_ASSERT_OK(SetFlowExpiry(seen_from_the_server, absl::Hours(1)));
  core::Flow turned = seen_from_the_server;
  std::swap(turned.client_address, turned.server_address);
  std::swap(turned.client_port, turned.server_port);

  NPG_ASSERT_OK(table_->Reconcile({marked}, {unmarked, turned}));
  EXPECT_EQ(FlowExpiry(stale).as_sent, absl::ZeroDuration());
  EXPECT_EQ(FlowExpiry(stale).reversed, absl::ZeroDuration());
  for (const core::Flow& flow : {young, marked, unmarked, seen_from_the_server}) {
    EXPECT_GT(FlowExpiry(flow).as_sent, absl::ZeroDuration()) << flow.client_port;
    EXPECT_GT(FlowExpiry(flow).reversed, absl::ZeroDuration()) << flow.client_port;
  }
}

class NftSocketsTest : public NftTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
  }

  absl::Status ReconcileWithSockets() {
    const auto marked = node::ListMarkedFlows({});
    if (!marked.ok()) return marked.status();
    const auto connected = node::ListLocalFlows();
    if (!connected.ok()) return connected.status();
    return table_->Reconcile(*marked, *connected);
  }

  std::unique_ptr<NftTable> table_;
};

TEST_F(NftSocketsTest, LivingConnectionsKeepOldEntries) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, Listening("::", kPort, testing::Transport::kTcp));
  testing::Dial dial{"127.0.0.1", kPort};
  dial.mark = kMark;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair marked, Connected(dial, listener.get()));
  dial.destination = "::ffff:127.0.0.1";
  NPG_ASSERT_OK_AND_ASSIGN(const Pair lost, Connected(dial, listener.get()));
  dial.destination = "::1";
  NPG_ASSERT_OK_AND_ASSIGN(Pair half_closed, Connected(dial, listener.get()));
  NPG_ASSERT_OK_AND_ASSIGN(Pair closed, Connected(dial, listener.get()));
  const uint32_t none = 0;
  ASSERT_EQ(setsockopt(lost.client.get(), SOL_SOCKET, SO_MARK, &none, sizeof(none)), 0);
  // The client has closed its end, the server has not.
  half_closed.client.Reset();
  Reset(closed.client);
  closed.server.Reset();
  for (const core::Flow& flow : {marked.flow, lost.flow, half_closed.flow, closed.flow}) {
    NPG_ASSERT_OK(SetFlowExpiry(flow, absl::Hours(1)));
  }
  NPG_ASSERT_OK(ReconcileWithSockets());
  for (const core::Flow& flow : {marked.flow, lost.flow, half_closed.flow}) {
    EXPECT_GT(FlowExpiry(flow).as_sent, absl::Minutes(59));
    EXPECT_GT(FlowExpiry(flow).reversed, absl::Minutes(59));
  }
  EXPECT_EQ(FlowExpiry(closed.flow).as_sent, absl::ZeroDuration());
  EXPECT_EQ(FlowExpiry(closed.flow).reversed, absl::ZeroDuration());
}

TEST_F(NftSocketsTest, RemovesEntriesOfClosedUdpClientsOnly) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto server,
                           Listening("127.0.0.1", kPort, testing::Transport::kUdp));
  testing::Dial dial{"127.0.0.1", kPort, testing::Transport::kUdp};
  dial.mark = kMark;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair living, Connected(dial, server.get()));
  NPG_ASSERT_OK_AND_ASSIGN(Pair closed, Connected(dial, server.get()));
  NPG_EXPECT_OK(Send(living.client.get(), server.get()));
  NPG_EXPECT_OK(Send(closed.client.get(), server.get()));
  NPG_ASSERT_OK(SetFlowExpiry(living.flow, absl::Hours(1)));
  NPG_ASSERT_OK(SetFlowExpiry(closed.flow, absl::Hours(1)));
  closed.client.Reset();
  NPG_ASSERT_OK(ReconcileWithSockets());
  EXPECT_GT(FlowExpiry(living.flow).as_sent, absl::ZeroDuration());
  EXPECT_EQ(FlowExpiry(closed.flow).as_sent, absl::ZeroDuration());
}

TEST_F(NftSocketsTest, RemovesHalfClosedEntriesWithTheirFlow) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener,
                           Listening("127.0.0.1", kPort, testing::Transport::kTcp));
  testing::Dial dial{"127.0.0.1", kPort};
  dial.mark = kMark;
  NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Connected(dial, listener.get()));
  ASSERT_EQ(shutdown(pair.client.get(), SHUT_WR), 0);
  char byte = 0;
  ASSERT_EQ(recv(pair.server.get(), &byte, 1, 0), 0);
  ASSERT_GT(HalfClosedExpiry(pair.flow).as_sent, absl::Hours(1));
  NPG_ASSERT_OK(ReconcileWithSockets());
  EXPECT_GT(HalfClosedExpiry(pair.flow).as_sent, absl::Hours(1));

  NPG_ASSERT_OK_AND_ASSIGN(auto socket, base::NetlinkSocket::Open(NETLINK_NETFILTER));
  NftBatch batch(socket);
  AddElements(batch, "half4",
              {{FlowKeys(MakeFlow(IPPROTO_TCP, false, 1))[0], 31'536'000'000, 30'000'000'000}});
  NPG_ASSERT_OK_AND_ASSIGN(const NftCommit commit, batch.Commit());
  NPG_ASSERT_OK(commit.ToStatus());
  EXPECT_EQ(EntryCount("half4"), 2U);
  NPG_ASSERT_OK(ReconcileWithSockets());
  EXPECT_EQ(EntryCount("half4"), 1U);
}

// They are no flows: no socket shows their use, and the packets they stand for are tracked.
TEST_F(NftSocketsTest, LeavesAnswersToListenersAlone) {
  {
    NPG_ASSERT_OK_AND_ASSIGN(auto socket, base::NetlinkSocket::Open(NETLINK_NETFILTER));
    NftBatch batch(socket);
    AddElements(batch, "asked4",
                {{FlowKeys(MakeFlow(IPPROTO_UDP, false, 1))[1], 180'000, 150'000}});
    NPG_ASSERT_OK_AND_ASSIGN(const NftCommit commit, batch.Commit());
    NPG_ASSERT_OK(commit.ToStatus());
  }
  NPG_ASSERT_OK_AND_ASSIGN(const bool quiet, table_->Quiet({}));
  EXPECT_TRUE(quiet);
  NPG_ASSERT_OK(table_->Reconcile({}, {}));
  EXPECT_EQ(EntryCount("asked4"), 1U);
  // A start that makes the table anew keeps them, too.
  NPG_ASSERT_OK_AND_ASSIGN(table_, NftTable::Install({}));
  EXPECT_EQ(EntryCount("asked4"), 1U);
  EXPECT_EQ(State().flow_entries, 0U);
  EXPECT_EQ(State().flows, 0U);
}

// Fills a set of the real size, with the larger key.
TEST_F(NftSocketsTest, FillsAndEmptiesAWholeSet) {
  const std::string set = "udp6";
  const auto any = [](uint32_t number) { return MakeFlow(IPPROTO_UDP, true, number); };
  std::vector<core::Flow> flows;
  for (uint32_t i = 0; i < kSetSize; ++i) flows.push_back(any(i));
  NPG_ASSERT_OK(table_->Reconcile(flows, {}));
  EXPECT_EQ(EntryCount(set), kSetSize);
  // One flow too many.
  flows.push_back(any(kSetSize));
  const absl::Status full = table_->Reconcile(flows, {});
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_THAT(std::string(full.message()), HasSubstr(set));
  EXPECT_EQ(EntryCount(set), kSetSize);

  // A restart keeps the entries, also if it makes the table anew.
  NPG_ASSERT_OK_AND_ASSIGN(table_, NftTable::Install({}));
  EXPECT_EQ(EntryCount(set), kSetSize);
  const auto state = ReadNftTable();
  NPG_ASSERT_OK(state);
  EXPECT_EQ(state->flow_entries, kSetSize);
  EXPECT_EQ(state->flows, kSetSize);

  // Entries that are old enough for removal.
  NPG_ASSERT_OK(table_->Remove());
  NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
  NPG_ASSERT_OK_AND_ASSIGN(auto socket, base::NetlinkSocket::Open(NETLINK_NETFILTER));
  std::vector<NftElement> old;
  flows.pop_back();
  for (const core::Flow& flow : flows) {
    old.push_back({FlowKeys(flow)[1], 432'000'000, 400'000'000});
  }
  NftBatch batch(socket);
  AddElements(batch, set, old);
  NPG_ASSERT_OK_AND_ASSIGN(const NftCommit commit, batch.Commit());
  NPG_ASSERT_OK(commit.ToStatus());
  EXPECT_EQ(EntryCount(set), kSetSize);
  NPG_ASSERT_OK(table_->Reconcile({any(7)}, {}));
  EXPECT_EQ(EntryCount(set), 1U);
}

// The largest transaction: the table is made anew with all entries of a set of TCP.
TEST_F(NftSocketsTest, ARestartKeepsAFullSetOfTcp) {
  std::vector<core::Flow> flows;
  for (uint32_t i = 0; i < kTcpSetSize; ++i) flows.push_back(MakeFlow(IPPROTO_TCP, false, i));
  NPG_ASSERT_OK(table_->Reconcile(flows, {}));
  NPG_ASSERT_OK_AND_ASSIGN(table_, NftTable::Install({}));
  EXPECT_TRUE(table_->adopted());
  // Counted once: to list a set takes the kernel a time that grows with the square of its size.
  const auto state = ReadNftTable();
  NPG_ASSERT_OK(state);
  EXPECT_EQ(state->flow_entries, kTcpSetSize);
  EXPECT_EQ(state->flows, kTcpSetSize);
}

}  // namespace
}  // namespace npg::dataplane::nft_reconcile_test
