// SPDX-License-Identifier: Apache-2.0
#include "log/exemption_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/port.h"
#include "log/fields.h"

namespace npg::log::exemption_log_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Exemption ConnectTo(uint16_t port, int listener_pid = 812, bool observed = false) {
  Exemption exemption;
  abi::Event& event = exemption.event;
  event.port = {port, core::Protocol::kTcp};
  event.pid = 712;
  event.observed = observed;
  event.comm = "kubelet";
  event.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};
  event.listener_address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
  exemption.service = "shop/web";
  exemption.owner.pid = listener_pid;
  if (listener_pid != 0) {
    exemption.owner.comm = "containerd";
    exemption.owner.workload.unit = "containerd.service";
  }
  return exemption;
}

class ExemptionLogTest : public ::testing::Test {
 protected:
  ExemptionLogTest() { Begin({}); }

  void Begin(ExemptionLog::Before before) {
    log_.emplace(
        [this](auto /*level*/, absl::string_view message, const Fields& fields) {
          lines_.push_back(absl::StrCat(message, fields.text()));
        },
        std::move(before));
  }
  void Note(const Exemption& exemption, int times = 1) {
    for (int i = 0; i < times; ++i) log_->Note(exemption, now_);
  }
  // Advances ten minutes; `total` connects have been counted by then.
  void TenMinutesLater(std::optional<uint64_t> total, bool observed = false) {
    now_ += absl::Minutes(10);
    log_->Tick(now_, [&](const core::PortKey&) -> std::optional<ExemptionTotals> {
      if (!total) return std::nullopt;
      return observed ? ExemptionTotals{0, *total} : ExemptionTotals{*total, 0};
    });
  }
  std::vector<std::string> Lines() { return std::exchange(lines_, {}); }

  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);  // 08:00 UTC
  std::vector<std::string> lines_;
  std::optional<ExemptionLog> log_;
};

TEST_F(ExemptionLogTest, LogsTheFirstConnectWithAllFields) {
  Note(ConnectTo(33589), 100);
  EXPECT_THAT(
      Lines(),
      ElementsAre("exempted a connect of kubelet[712] to 127.0.0.1 port 33589/tcp, NodePort of "
                  "shop/web: it is for containerd[812] (containerd.service) on 0.0.0.0 "
                  "event=exempted port=33589 protocol=tcp service=shop/web address=127.0.0.1 "
                  "client_pid=712 client_comm=kubelet listener_address=0.0.0.0 listener_pid=812 "
                  "listener_comm=containerd listener_workload=containerd.service"));
}

TEST_F(ExemptionLogTest, NamesRulesWhereNoServiceIsKnown) {
  Exemption exemption = ConnectTo(33589);
  exemption.service = "nft table ip cni_hostport, chain hostports";
  Note(exemption);
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("port 33589/tcp, taken by nft table ip cni_hostport, "
                                             "chain hostports: it is for")));
}

TEST_F(ExemptionLogTest, SumsUpFurtherConnectsEveryTenMinutes) {
  Note(ConnectTo(33589), 3);
  Lines();
  now_ -= absl::Seconds(1);
  TenMinutesLater(5000);
  EXPECT_THAT(Lines(), IsEmpty()) << "not due";
  now_ += absl::Seconds(1);
  now_ -= absl::Minutes(10);
  TenMinutesLater(5000);
  EXPECT_THAT(Lines(),
              ElementsAre("exempted 4999 more connects to port 33589/tcp, NodePort of shop/web, "
                          "since 08:00, for containerd[812] (containerd.service) "
                          "event=exempted_summary port=33589 protocol=tcp service=shop/web "
                          "count=4999 seconds=600"));
  TenMinutesLater(5000);
  EXPECT_THAT(Lines(), IsEmpty()) << "nothing more";
  TenMinutesLater(5001);
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("exempted 1 more connect to port 33589/tcp")));
}

TEST_F(ExemptionLogTest, IgnoresConnectsCountedBeforeTheStart) {
  Begin({{{33589, core::Protocol::kTcp}, {1000, 50}}});
  Note(ConnectTo(33589));
  Lines();
  TenMinutesLater(1003);
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("exempted 2 more connects")));
}

TEST_F(ExemptionLogTest, ObserveModeLogsWouldHaveExempted) {
  Note(ConnectTo(33589, 812, true));
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("would have exempted a connect of kubelet[712]")));
  TenMinutesLater(4, true);
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("would have exempted 3 more connects")));
}

TEST_F(ExemptionLogTest, AnotherListenerIsAnotherConflict) {
  Note(ConnectTo(33589));
  Note(ConnectTo(33589, 900));
  Note(ConnectTo(33589));
  EXPECT_THAT(Lines(), SizeIs(2));
  TenMinutesLater(3);
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("exempted 1 more connect ")));
}

TEST_F(ExemptionLogTest, LimitsTheLinesOfAListenerThatRestarts) {
  for (int pid = 1; pid <= 100; ++pid) Note(ConnectTo(33589, pid));
  EXPECT_THAT(Lines(), SizeIs(ExemptionLog::kMaxListeners));
  TenMinutesLater(100);
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("exempted 92 more connects")));
  Note(ConnectTo(33589, 200));
  EXPECT_THAT(Lines(), SizeIs(1));
}

TEST_F(ExemptionLogTest, LogsAnUnknownOwnerAsUnknown) {
  Exemption exemption = ConnectTo(33589, 0);
  exemption.service = "";
  Note(exemption);
  const auto lines = Lines();
  ASSERT_THAT(lines, SizeIs(1));
  EXPECT_THAT(lines[0], HasSubstr("port 33589/tcp: it is for an unknown process on 0.0.0.0 "));
  EXPECT_THAT(lines[0], ::testing::Not(HasSubstr("service=")));
}

TEST_F(ExemptionLogTest, NamesTheKernelWhereNoProcessHasTheListener) {
  Exemption exemption = ConnectTo(33589, 0);
  exemption.owner.no_process = true;
  Note(exemption);
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("it is for the kernel on 0.0.0.0 ")));
}

TEST_F(ExemptionLogTest, UsesItsOwnCountIfTheMapHasNone) {
  Note(ConnectTo(33589), 5);
  Lines();
  TenMinutesLater(std::nullopt);
  EXPECT_THAT(Lines(), ElementsAre(HasSubstr("exempted 4 more connects")));
}

TEST_F(ExemptionLogTest, IsBounded) {
  for (int port = 1; port <= 5000; ++port) Note(ConnectTo(static_cast<uint16_t>(port)));
  EXPECT_EQ(log_->ports(), ExemptionLog::kMaxPorts);
  EXPECT_THAT(Lines(), SizeIs(ExemptionLog::kMaxLines));
  TenMinutesLater(std::nullopt);
  const auto lines = Lines();
  ASSERT_FALSE(lines.empty());
  EXPECT_THAT(lines.back(), HasSubstr("4900 further connects were not logged"));
  // It has no record of the earlier count of a port that it evicted.
  Note(ConnectTo(1), 3);
  Lines();
  TenMinutesLater(1'000'000);
  EXPECT_THAT(Lines(), ::testing::Contains(HasSubstr("exempted 2 more connects to port 1/tcp")));
}

}  // namespace
}  // namespace npg::log::exemption_log_test
