// SPDX-License-Identifier: Apache-2.0
// Installing, adopting, owning and removing the table. nft_guard_test.cc tests Guard().
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/netlink_socket.h"
#include "base/unique_fd.h"
#include "core/flow.h"
#include "core/mark.h"
#include "dataplane/nft/nft_batch.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_snapshot.h"
#include "dataplane/nft/nft_table.h"
#include "integration/dataplane/nft_fixture.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::dataplane::nft_table_test {
namespace {

using ::testing::HasSubstr;
using testing::RunCommand;
using testing::RunForResult;

constexpr absl::Duration kLong = absl::Hours(24 * 365 - 1);

class NftTableTest : public NftTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(listener_, Listening("127.0.0.1", kPort, testing::Transport::kTcp));
  }

  absl::StatusOr<Pair> Open() {
    testing::Dial dial{"127.0.0.1", kPort};
    dial.mark = kMark;
    return Connected(dial, listener_.get());
  }

 private:
  base::UniqueFd listener_;
};

TEST_F(NftTableTest, InstallsTheWholeTable) {
  EXPECT_FALSE(State().present);
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  EXPECT_FALSE(table->adopted());
  EXPECT_EQ(table->owned(), KernelProtects());
  EXPECT_TRUE(State().present);
  EXPECT_EQ(State().owner_portid != 0, KernelProtects());
  EXPECT_EQ(State().flow_entries, 0U);
  // The kernel lists the table as NftTable built it.
  EXPECT_TRUE(Intact({}, table->owned()));
  NftSettings other;
  other.mark = {0x2000, 0x2000};
  EXPECT_FALSE(Intact(other, table->owned()));
}

TEST_F(NftTableTest, CountsMarkedPackets) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open());
  NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
  EXPECT_GE(State().exempted_packets, 3U);  // SYN, ACK, data
  EXPECT_EQ(State().flow_entries, 1U);
  EXPECT_EQ(State().flows, 1U);
}

TEST_F(NftTableTest, MatchesTheConfiguredMark) {
  for (const core::Mark mark : {core::Mark{0x40, 0xf0}, core::Mark{0xdeadbeef, 0xffffffff}}) {
    NftSettings settings;
    settings.mark = mark;
    NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install(mark));
    EXPECT_TRUE(Intact(settings, table->owned()));
    const uint64_t before = State().exempted_packets;
    testing::Dial dial{"127.0.0.1", kOtherPort};
    EXPECT_EQ(testing::Ask(dial), "refused");
    EXPECT_EQ(State().exempted_packets, before);
    dial.mark = mark.value | (0x0f000000 & ~mark.mask);
    EXPECT_EQ(testing::Ask(dial), "refused");
    EXPECT_EQ(State().exempted_packets, before + 1);
  }
}

TEST_F(NftTableTest, InstallWithoutThePrivilegeLeavesNothing) {
  const auto said = testing::RunInFork([] {
    constexpr uid_t kNobody = 65534;
    if (setresuid(kNobody, kNobody, kNobody) != 0) return std::string("setresuid failed");
    const auto table = NftTable::Install({});
    if (!absl::IsPermissionDenied(ReadNftTable().status())) return std::string("could read");
    if (!absl::IsPermissionDenied(RemoveNftTable())) return std::string("could remove");
    return std::string(absl::IsPermissionDenied(table.status()) ? table.status().message()
                                                                : "installed");
  });
  NPG_ASSERT_OK(said);
  EXPECT_THAT(*said, HasSubstr("CAP_NET_ADMIN"));
  EXPECT_THAT(*said, HasSubstr("Operation not permitted"));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string rules, RunCommand({"nft", "list", "ruleset"}));
  EXPECT_EQ(rules, "");
}

TEST_F(NftTableTest, RefusedTransactionLeavesNothing) {
  NPG_ASSERT_OK_AND_ASSIGN(auto socket, base::NetlinkSocket::Open(NETLINK_NETFILTER));
  NftSettings settings;
  settings.set_size = 1;
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, InstallNftTable(settings));
  NPG_ASSERT_OK(table->Remove());
  // The first element fits, the second finds the set full.
  NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, R"(
    table inet nodeport_guard {
      set tcp4 {
        type ipv4_addr . inet_service . ipv4_addr . inet_service
        flags dynamic,timeout
        size 1
      }
    })"));
  NftBatch batch(socket);
  AddElements(batch, "tcp4",
              {{std::string(16, 'a'), 100000, 100000}, {std::string(16, 'b'), 100000, 100000}});
  NPG_ASSERT_OK_AND_ASSIGN(const NftCommit commit, batch.Commit());
  EXPECT_EQ(commit.ToStatus().code(), absl::StatusCode::kResourceExhausted) << commit.ToStatus();
  EXPECT_THAT(commit.what, HasSubstr("tcp4"));
  EXPECT_EQ(EntryCount("tcp4"), 0U);
}

TEST_F(NftTableTest, AdoptionKeepsFlowsAndCounter) {
  NPG_ASSERT_OK_AND_ASSIGN(auto table, NftTable::Install({}));
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open());
  const uint64_t counted = State().exempted_packets;
  table.reset();
  EXPECT_EQ(State().owner_portid, 0U);
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);

  // With another mark, as an operator may choose for the next run.
  const core::Mark other{0x2000, 0x2000};
  NPG_ASSERT_OK_AND_ASSIGN(table, NftTable::Install(other));
  EXPECT_TRUE(table->adopted());
  EXPECT_EQ(table->owned(), KernelProtects());
  NftSettings settings;
  settings.mark = other;
  EXPECT_TRUE(Intact(settings, table->owned()));
  EXPECT_EQ(State().exempted_packets, counted);
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
  // The client has the old mark; the entries keep its flow exempt.
  NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
  NPG_EXPECT_OK(Send(pair.server.get(), pair.client.get()));
}

TEST_F(NftTableTest, WithoutAnOwnerASavedRuleSetCanBeLoaded) {
  // From a table that an earlier run owned, with a flow.
  NPG_ASSERT_OK_AND_ASSIGN(auto table, NftTable::Install({}));
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open());
  const uint64_t counted = State().exempted_packets;
  table.reset();
  NPG_ASSERT_OK_AND_ASSIGN(table, NftTable::Install({}, std::nullopt, /*own=*/false));
  EXPECT_TRUE(table->adopted());
  EXPECT_FALSE(table->owned());
  EXPECT_EQ(State().owner_portid, 0U);
  NftSettings settings;
  settings.own = false;
  EXPECT_TRUE(Intact(settings, /*owned=*/false));
  EXPECT_EQ(State().exempted_packets, counted);
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);

  NPG_ASSERT_OK(RunCommand({"nft", "add", "table", "inet", "admin"}));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string saved, RunCommand({"nft", "list", "ruleset"}));
  NPG_EXPECT_OK(RunCommand({"nft", "-f", "-"}, absl::StrCat("flush ruleset\n", saved)));
  EXPECT_TRUE(State().present);
  NPG_ASSERT_OK(RunCommand({"nft", "flush", "ruleset"}));
  EXPECT_FALSE(State().present);
}

// A restart with the other setting, both ways: the table is there all the time, and
// keeps the flows and the counter.
TEST_F(NftTableTest, ARestartChangesWhetherItIsOwned) {
  NPG_ASSERT_OK_AND_ASSIGN(auto table, NftTable::Install({}));
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open());
  std::atomic<bool> stop = false;
  int looks = 0, absent = 0;
  std::thread watch([&] {
    while (!stop) {
      const auto state = ReadNftTable();
      if (!state.ok()) continue;  // it changed while it was read
      ++looks;
      if (!state->present) ++absent;
    }
  });
  for (const bool own : {false, true, false, true}) {
    SCOPED_TRACE(own);
    NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
    const uint64_t counted = State().exempted_packets;
    table.reset();
    auto next = NftTable::Install({}, std::nullopt, own);
    NPG_EXPECT_OK(next);
    if (!next.ok()) break;
    table = *std::move(next);
    EXPECT_TRUE(table->adopted());
    EXPECT_EQ(table->owned(), own && KernelProtects());
    EXPECT_EQ(State().owner_portid != 0, own && KernelProtects());
    NftSettings settings;
    settings.own = own;
    EXPECT_TRUE(Intact(settings, table->owned()));
    EXPECT_GE(State().exempted_packets, counted);
    EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
    NPG_EXPECT_OK(Send(pair.server.get(), pair.client.get()));
    EXPECT_EQ(Tracked(pair.flow.client_port), "");
  }
  stop = true;
  watch.join();
  EXPECT_GT(looks, 0);
  EXPECT_EQ(absent, 0);
}

TEST_F(NftTableTest, ALoadOfASavedRuleSetIsRefusedWhileTheTableIsOwned) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  if (!table->owned()) GTEST_SKIP() << "this kernel lacks NFT_TABLE_F_PERSIST";
  NPG_ASSERT_OK_AND_ASSIGN(const std::string saved, RunCommand({"nft", "list", "ruleset"}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto loaded, RunForResult({"nft", "-f", "-"}, saved));
  EXPECT_NE(loaded.exit_code, 0);
  EXPECT_THAT(loaded.err, HasSubstr("Operation not permitted"));
  EXPECT_TRUE(Intact({}, /*owned=*/true));
}

TEST_F(NftTableTest, StaysWhenItsOwnerIsKilled) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto table = NftTable::Install({});
    if (table.ok()) raise(SIGKILL);
    _exit(1);
  }
  int wait_status = 0;
  ASSERT_EQ(waitpid(child, &wait_status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(wait_status));
  EXPECT_TRUE(State().present);
  EXPECT_EQ(State().owner_portid, 0U);
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open());
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  EXPECT_TRUE(table->adopted());
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
}

TEST_F(NftTableTest, AdoptsATableOfAnotherBuildOrADump) {
  NPG_ASSERT_OK(RunCommand({"nft", "-f", "-"}, R"(
    table inet nodeport_guard {
      counter exempted { packets 41 bytes 4100
      }
      counter stranger { }
      set tcp4 {
        type ipv4_addr . inet_service . ipv4_addr . inet_service
        flags dynamic,timeout
        size 1000
        elements = { 127.0.0.1 . 1 . 127.0.0.1 . 2 timeout 365d expires 100d }
      }
      set udp6 { type ipv6_addr
        elements = { ::1 }
      }
      set stranger { type inet_service
        elements = { 22 }
      }
      chain stranger { tcp dport @stranger counter name stranger drop
      }
      map verdicts { type inet_service : verdict
        elements = { 23 : goto stranger }
      }
      chain exempt { tcp dport { 80, 81 } accept
      }
      chain output { type filter hook output priority 5; policy drop;
        tcp dport vmap @verdicts
      }
      chain inbound { type filter hook input priority 5
      }
    })"));
  NPG_ASSERT_OK_AND_ASSIGN(auto table, NftTable::Install({}));
  EXPECT_TRUE(table->adopted());
  EXPECT_EQ(table->owned(), KernelProtects());
  EXPECT_TRUE(Intact({}, table->owned()));
  EXPECT_EQ(State().exempted_packets, 41U);
  core::Flow flow;
  flow.protocol = IPPROTO_TCP;
  flow.client_address =
      flow.server_address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
  flow.client_port = 1;
  flow.server_port = 2;
  EXPECT_GT(FlowExpiry(flow).as_sent, absl::Hours(24 * 99));
  EXPECT_LE(FlowExpiry(flow).as_sent, absl::Hours(24 * 100));
  EXPECT_EQ(EntryCount("udp6"), 0U);
  // Adopts once more, now with the rules in place.
  table.reset();
  NPG_ASSERT_OK_AND_ASSIGN(table, NftTable::Install({}));
  EXPECT_TRUE(Intact({}, table->owned()));
  EXPECT_GT(FlowExpiry(flow).as_sent, absl::Hours(24 * 99));
}

// Earlier builds had smaller sets, with both directions of each connection.
TEST_F(NftTableTest, AdoptionEnlargesTheSetsOfAnEarlierBuild) {
  NftSettings earlier = Unprotected();
  earlier.set_size = kSetSize;
  NPG_ASSERT_OK_AND_ASSIGN(auto table, InstallNftTable(earlier));
  NPG_ASSERT_OK_AND_ASSIGN(Pair pair, Open());
  NPG_ASSERT_OK(SetFlowExpiry(pair.flow, kTcpTimeout));
  ASSERT_EQ(EntryCount("tcp4"), 2U);
  const uint64_t counted = State().exempted_packets;
  for (const bool own : {false, true}) {
    SCOPED_TRACE(own);
    table.reset();
    NPG_ASSERT_OK_AND_ASSIGN(table, NftTable::Install({}, std::nullopt, own));
    EXPECT_TRUE(table->adopted());
    NftSettings settings;
    settings.own = own;
    EXPECT_TRUE(Intact(settings, table->owned()));
    EXPECT_EQ(State().exempted_packets, counted);
    EXPECT_GT(FlowExpiry(pair.flow).as_sent, kLong);
    EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
  }
  NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
  NPG_EXPECT_OK(Send(pair.server.get(), pair.client.get()));
  // Both expire with the connection.
  Reset(pair.client);
  EXPECT_TRUE(testing::WaitUntil(testing::kPatience, [&] { return EntryCount("tcp4") == 0; }));
}

TEST_F(NftTableTest, AdoptsADormantTable) {
  NPG_ASSERT_OK(InstallNftTable(Unprotected()));
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open());
  NPG_ASSERT_OK(RunCommand({"nft", "add table inet nodeport_guard { flags dormant; }"}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  EXPECT_TRUE(Intact({}, table->owned()));
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
}

TEST_F(NftTableTest, SecondOwnerIsRefused) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  const uint32_t owner = State().owner_portid;
  const auto second = NftTable::Install({});
  const absl::Status removed = RemoveNftTable();
  if (!KernelProtects()) {
    // Such a kernel has no owners of tables: the lock on the pins excludes a second controller.
    NPG_EXPECT_OK(second);
    NPG_EXPECT_OK(removed);
    return;
  }
  for (const absl::Status& status : {second.status(), removed}) {
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("port ", owner)));
  }
  EXPECT_TRUE(Intact({}, true));
}

TEST_F(NftTableTest, OthersCannotTouchAnOwnedTable) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto table, NftTable::Install({}));
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Open());
  NPG_ASSERT_OK(RunForResult({"nft", "flush", "ruleset"}));
  NPG_ASSERT_OK(RunForResult({"nft", "delete", "table", "inet", "nodeport_guard"}));
  NPG_ASSERT_OK(RunForResult({"nft", "flush", "set", "inet", "nodeport_guard", "tcp4"}));
  EXPECT_EQ(State().present, KernelProtects());
  if (KernelProtects()) {
    EXPECT_TRUE(Intact({}, true));
    EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
  }
}

TEST_F(NftTableTest, RemoveIsIdempotent) {
  NPG_EXPECT_OK(RemoveNftTable());
  NPG_ASSERT_OK_AND_ASSIGN(auto table, NftTable::Install({}));
  NPG_EXPECT_OK(table->Remove());
  EXPECT_FALSE(State().present);
  NPG_EXPECT_OK(table->Remove());
  NPG_ASSERT_OK_AND_ASSIGN(table, NftTable::Install({}));
  table.reset();
  NPG_EXPECT_OK(RemoveNftTable());
  EXPECT_FALSE(State().present);
}

}  // namespace
}  // namespace npg::dataplane::nft_table_test
