// SPDX-License-Identifier: Apache-2.0
// NftTable::Guard(): it restores a table that the kernel does not protect.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "core/mark.h"
#include "dataplane/nft/nft_install.h"
#include "dataplane/nft/nft_table.h"
#include "integration/dataplane/nft_fixture.h"
#include "node/sock_diag.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/run_loop.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"

namespace npg::dataplane::nft_guard_test {
namespace {

using testing::RunCommand;

constexpr absl::Duration kLong = absl::Hours(24 * 365 - 1);

// Unprotected, as on kernels below 6.9.
class NftGuardTest : public NftTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(NftTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(loop_, base::EventLoop::Create());
    NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
  }

  absl::Status Guard(std::function<void(const absl::Status&)> restored) {
    return table_->Guard(
        *loop_,
        [] {
          const auto flows = node::ListMarkedFlows({});
          NPG_EXPECT_OK(flows);
          return flows.ok() ? *flows : std::vector<core::Flow>();
        },
        std::move(restored));
  }

  // Runs `deed` as soon as the loop runs.
  void Then(std::function<void()> deed) { loop_->After(absl::ZeroDuration(), std::move(deed)); }

  // Runs the loop until Stop(), for ten seconds at most.
  void Run() { NPG_EXPECT_OK(testing::RunLoop(*loop_)); }

  std::unique_ptr<base::EventLoop> loop_;
  std::unique_ptr<NftTable> table_;
};

// One target of each kind, on two ports.
core::DatagramTargets Targets() {
  core::DatagramTargets targets;
  targets.addresses.emplace(
      std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1}, 31589);
  targets.addresses.emplace(std::array<uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
                            31590);
  targets.loopback4.insert(31590);
  return targets;
}

// Unprotected, with or without the chain of what target listeners ask.
NftSettings WithAsked(bool asked) {
  NftSettings settings;
  settings.own = false;
  settings.asked = asked;
  return settings;
}

std::string NameOf(std::string deed) {
  std::replace_if(
      deed.begin(), deed.end(), [](char c) { return isalnum(c) == 0; }, '_');
  return deed;
}

// The parameter is an nft command that damages the table.
class NftRestoreTest : public NftGuardTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(NftRestoreTest, RestoresTableAndEntries) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener,
                           Listening("127.0.0.1", kPort, testing::Transport::kTcp));
  testing::Dial dial{"127.0.0.1", kPort};
  dial.mark = kMark;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Connected(dial, listener.get()));
  absl::Status how = absl::UnknownError("not restored");
  int times = 0;
  NPG_ASSERT_OK(Guard([&](const absl::Status& status) {
    how = status;
    ++times;
    loop_->Stop();
  }));
  // The table's own transactions cause no restore.
  NPG_EXPECT_OK(table_->Reconcile({pair.flow}, {}));
  NPG_EXPECT_OK(table_->SetDatagramTargets(Targets()));
  Then([] { NPG_EXPECT_OK(RunCommand({"nft", GetParam()})); });
  Run();
  NPG_EXPECT_OK(how);
  EXPECT_EQ(times, 1);
  EXPECT_TRUE(Intact(WithAsked(true), false));
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
  EXPECT_EQ(EntryCount("targets4"), 1U);
  EXPECT_EQ(EntryCount("targets6"), 1U);
  EXPECT_EQ(EntryCount("targets_any4"), 1U);
  EXPECT_EQ(EntryCount("target_ports"), 2U);
}

INSTANTIATE_TEST_SUITE_P(
    Deeds, NftRestoreTest,
    ::testing::Values("flush ruleset", "delete table inet nodeport_guard",
                      "flush table inet nodeport_guard", "flush chain inet nodeport_guard output",
                      "insert rule inet nodeport_guard output accept",
                      "add rule inet nodeport_guard udp_reply counter",
                      "add chain inet nodeport_guard output { policy drop; }",
                      "add chain inet nodeport_guard extra",
                      "add set inet nodeport_guard extra { type inet_service; }",
                      "add counter inet nodeport_guard extra", "flush set inet nodeport_guard tcp4",
                      "flush set inet nodeport_guard targets4",
                      "flush set inet nodeport_guard target_ports",
                      "insert rule inet nodeport_guard asked accept",
                      "flush chain inet nodeport_guard asked; "
                      "delete chain inet nodeport_guard asked",
                      "add table inet nodeport_guard { flags dormant; }",
                      "add rule inet nodeport_guard output tcp dport { 1, 2 } drop"),
    [](const auto& deed) { return NameOf(deed.param); });

class NftRestoreIpvsBypassTest : public NftGuardTest,
                                 public ::testing::WithParamInterface<std::string> {};

TEST_P(NftRestoreIpvsBypassTest, BypassComesBack) {
  NftSettings settings = Unprotected();
  settings.ipvs_bypass = true;
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  ASSERT_TRUE(Intact(settings, false));
  int times = 0;
  NPG_ASSERT_OK(Guard([&](const absl::Status& status) {
    NPG_EXPECT_OK(status);
    ++times;
    loop_->Stop();
  }));
  Then([&] {
    NPG_EXPECT_OK(RunCommand({"nft", GetParam()}));
    EXPECT_FALSE(Intact(settings, false));
  });
  Run();
  EXPECT_EQ(times, 1);
  EXPECT_TRUE(Intact(settings, false));
  EXPECT_TRUE(State().ipvs_bypass);
}

INSTANTIATE_TEST_SUITE_P(
    Deeds, NftRestoreIpvsBypassTest,
    ::testing::Values("flush ruleset", "delete table inet nodeport_guard",
                      "flush chain inet nodeport_guard ipvs_dodge_back",
                      "flush chain inet nodeport_guard ipvs_dodge; "
                      "delete chain inet nodeport_guard ipvs_dodge",
                      "insert rule inet nodeport_guard ipvs_dodge accept",
                      "add chain inet nodeport_guard ipvs_dodge_back { policy drop; }"),
    [](const auto& deed) { return NameOf(deed.param); });

TEST_F(NftGuardTest, AForeignBypassIsRemoved) {
  NPG_ASSERT_OK(Guard([&](const absl::Status& status) {
    NPG_EXPECT_OK(status);
    loop_->Stop();
  }));
  Then([] {
    NPG_EXPECT_OK(RunCommand({"nft",
                              "add chain inet nodeport_guard ipvs_dodge_back "
                              "{ type filter hook input priority 150; }"}));
  });
  Run();
  NftSettings settings = Unprotected();
  settings.ipvs_bypass = false;
  EXPECT_TRUE(Intact(settings, false));
}

// Another process removes the table right before the bypass is wanted: what is built anew
// has the entries of live flows, too.
TEST_F(NftGuardTest, BypassOnATableThatIsGone) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener,
                           Listening("127.0.0.1", kPort, testing::Transport::kTcp));
  testing::Dial dial{"127.0.0.1", kPort};
  dial.mark = kMark;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Connected(dial, listener.get()));
  NPG_ASSERT_OK(Guard([](const absl::Status& /*status*/) {}));
  NPG_ASSERT_OK(RunCommand({"nft", "flush", "ruleset"}));
  NPG_ASSERT_OK(table_->SetIpvsBypass(true));
  EXPECT_TRUE(State().ipvs_bypass);
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
}

TEST_F(NftGuardTest, TheChainOfWhatListenersAskFollowsTheTargets) {
  EXPECT_TRUE(Intact(WithAsked(false), false));
  NPG_ASSERT_OK(table_->SetDatagramTargets(Targets()));
  EXPECT_TRUE(Intact(WithAsked(true), false));
  EXPECT_FALSE(Intact(WithAsked(false), false));
  // A restart keeps both, until the controller knows better.
  NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
  EXPECT_TRUE(Intact(WithAsked(true), false));
  EXPECT_EQ(EntryCount("target_ports"), 2U);
  NPG_ASSERT_OK(table_->SetDatagramTargets({}));
  EXPECT_TRUE(Intact(WithAsked(false), false));
  EXPECT_EQ(EntryCount("target_ports"), 0U);
}

// As with the bypass.
TEST_F(NftGuardTest, TargetsOnATableThatIsGone) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener,
                           Listening("127.0.0.1", kPort, testing::Transport::kTcp));
  testing::Dial dial{"127.0.0.1", kPort};
  dial.mark = kMark;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Connected(dial, listener.get()));
  NPG_ASSERT_OK(Guard([](const absl::Status& /*status*/) {}));
  NPG_ASSERT_OK(RunCommand({"nft", "flush", "ruleset"}));
  NPG_ASSERT_OK(table_->SetDatagramTargets(Targets()));
  EXPECT_TRUE(Intact(WithAsked(true), false));
  EXPECT_EQ(EntryCount("target_ports"), 2U);
  EXPECT_GT(FlowExpiry(pair.flow).reversed, kLong);
}

TEST_F(NftGuardTest, RestoresATableThatWasDamagedBefore) {
  NPG_ASSERT_OK(RunCommand({"nft", "flush", "ruleset"}));
  NPG_ASSERT_OK(Guard([&](const absl::Status& status) {
    NPG_EXPECT_OK(status);
    loop_->Stop();
  }));
  Run();
  EXPECT_TRUE(Intact(Unprotected(), false));
}

// `unload` and a new start: the table is new and has no entries of connections that live.
class NftLiveFlowsTest : public NftGuardTest,
                         public ::testing::WithParamInterface<testing::Transport> {};

TEST_P(NftLiveFlowsTest, AreEnteredAtTheStartWithoutAReport) {
  const bool tcp = GetParam() == testing::Transport::kTcp;
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, Listening("127.0.0.1", kPort, GetParam()));
  testing::Dial dial{"127.0.0.1", kPort, GetParam()};
  dial.mark = kMark;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Connected(dial, listener.get()));
  NPG_ASSERT_OK(RemoveNftTable());
  NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(Unprotected()));
  const std::string set = tcp ? "tcp4" : "udp4";
  ASSERT_EQ(EntryCount(set), 0U);

  int reports = 0;
  NPG_ASSERT_OK(Guard([&](const absl::Status& status) {
    NPG_EXPECT_OK(status);
    ++reports;
    loop_->Stop();
  }));
  Then([&] { Then([&] { loop_->Stop(); }); });
  Run();
  EXPECT_EQ(reports, 0) << "no other process changed the table";
  const size_t entries = EntryCount(set);
  EXPECT_EQ(entries, 1U);
  if (tcp) {
    NPG_EXPECT_OK(Send(pair.client.get(), pair.server.get()));
  }

  // A change by another process is still one.
  Then([&] {
    NPG_EXPECT_OK(RunCommand({"nft", absl::StrCat("flush set inet nodeport_guard ", set)}));
  });
  Run();
  EXPECT_EQ(reports, 1);
  EXPECT_EQ(EntryCount(set), entries);
}

TEST_P(NftLiveFlowsTest, AChangeBeforeTheFirstVerificationIsReported) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto listener, Listening("127.0.0.1", kPort, GetParam()));
  testing::Dial dial{"127.0.0.1", kPort, GetParam()};
  dial.mark = kMark;
  NPG_ASSERT_OK_AND_ASSIGN(const Pair pair, Connected(dial, listener.get()));
  const std::string set = GetParam() == testing::Transport::kTcp ? "tcp4" : "udp4";
  int reports = 0;
  NPG_ASSERT_OK(Guard([&](const absl::Status& status) {
    NPG_EXPECT_OK(status);
    ++reports;
    loop_->Stop();
  }));
  NPG_EXPECT_OK(RunCommand({"nft", absl::StrCat("flush set inet nodeport_guard ", set)}));
  Run();
  EXPECT_EQ(reports, 1);
  EXPECT_GT(EntryCount(set), 0U);
}

INSTANTIATE_TEST_SUITE_P(Transports, NftLiveFlowsTest,
                         ::testing::Values(testing::Transport::kTcp, testing::Transport::kUdp),
                         [](const auto& shown) {
                           return std::string(shown.param == testing::Transport::kTcp ? "tcp"
                                                                                      : "udp");
                         });

// The controller calls it again until it succeeds.
TEST_F(NftGuardTest, ForgetsTheFormerMarkAfterAFailure) {
  if (!KernelProtects()) GTEST_SKIP() << "this kernel protects no table";
  NftSettings settings = Unprotected();
  settings.former_mark = core::Mark{0x2000, 0x2000};
  NPG_ASSERT_OK_AND_ASSIGN(table_, InstallNftTable(settings));
  NPG_ASSERT_OK(RemoveNftTable());
  {
    NPG_ASSERT_OK_AND_ASSIGN(const auto stranger, NftTable::Install({}));
    EXPECT_FALSE(table_->ForgetFormerMark().ok());
    EXPECT_FALSE(table_->ForgetFormerMark().ok());
  }
  NPG_EXPECT_OK(table_->ForgetFormerMark());
  EXPECT_TRUE(Intact(Unprotected(), false)) << "without the rules for the former mark";
}

TEST_F(NftGuardTest, IgnoresOtherTables) {
  NPG_ASSERT_OK(Guard([](const absl::Status& status) { ADD_FAILURE() << status; }));
  Then([&] {
    NPG_EXPECT_OK(RunCommand({"nft",
                              "add table inet other; add table ip nodeport_guard; "
                              "add chain ip nodeport_guard output"}));
    // The loop reads the queued notifications before it runs this.
    Then([&] { loop_->Stop(); });
  });
  Run();
}

// Changes of another table overflow the socket, so that the kernel drops notifications,
// among them the one of the removal.
TEST_F(NftGuardTest, RestoresAfterLostNotifications) {
  std::string busy = "table ip busy {\n chain busy {\n";
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&busy, "  tcp dport ", i, " accept\n");
  busy += " }\n}\n";
  NPG_ASSERT_OK(Guard([&](const absl::Status& status) {
    NPG_EXPECT_OK(status);
    loop_->Stop();
  }));
  Then([&] {
    NPG_EXPECT_OK(RunCommand({"nft", "-f", "-"}, busy));
    NPG_EXPECT_OK(RemoveNftTable());
  });
  Run();
  EXPECT_TRUE(Intact(Unprotected(), false));
}

TEST_F(NftGuardTest, LimitsTheRateOfRestores) {
  constexpr int kTimes = 25;
  int times = 0;
  const uint64_t begin = base::BootNanoseconds();
  NPG_ASSERT_OK(Guard([&](const absl::Status& status) {
    NPG_EXPECT_OK(status);
    if (++times == kTimes) {
      loop_->Stop();
    } else {
      NPG_EXPECT_OK(RemoveNftTable());
    }
  }));
  Then([] { NPG_EXPECT_OK(RemoveNftTable()); });
  Run();
  EXPECT_EQ(times, kTimes);
  EXPECT_TRUE(Intact(Unprotected(), false));
  // After ten restores in a second comes a pause of a second: 25 need two pauses.
  EXPECT_GE(base::BootNanoseconds() - begin, 2'000'000'000U);
}

TEST_F(NftGuardTest, ReportsAFailureOnceAndRetries) {
  if (!KernelProtects()) {
    // Without protection by the kernel, no other owner can make a restore fail.
    GTEST_SKIP() << "this kernel protects no table";
  }
  std::unique_ptr<NftTable> stranger;
  std::vector<absl::Status> reports;
  NPG_ASSERT_OK(Guard([&](const absl::Status& status) {
    reports.push_back(status);
    if (status.ok()) {
      loop_->Stop();
    } else {
      loop_->After(absl::Milliseconds(1500), [&] { stranger.reset(); });
    }
  }));
  Then([&] {
    NPG_EXPECT_OK(RemoveNftTable());
    auto other = NftTable::Install({});
    NPG_EXPECT_OK(other);
    if (other.ok()) stranger = *std::move(other);
  });
  Run();
  ASSERT_EQ(reports.size(), 2U);
  EXPECT_TRUE(absl::IsPermissionDenied(reports[0])) << reports[0];
  EXPECT_TRUE(Intact(Unprotected(), false));
}

TEST_F(NftGuardTest, DoesNotRestoreAfterRemove) {
  NPG_ASSERT_OK(Guard([](const absl::Status& status) { ADD_FAILURE() << status; }));
  NPG_ASSERT_OK(table_->Remove());
  Then([&] { loop_->Stop(); });
  Run();
  EXPECT_FALSE(State().present);
}

}  // namespace
}  // namespace npg::dataplane::nft_guard_test
