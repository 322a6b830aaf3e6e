// SPDX-License-Identifier: Apache-2.0
#include "log/repeated_fault.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "log/log.h"

namespace npg::log::repeated_fault_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RepeatedFaultTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(SetUpLog("info", LogFormat::kText).ok()); }

  // Notes the status `times` times, once per `every`, and returns the lines logged.
  std::vector<std::string> Note(const absl::Status& status, int times = 1,
                                absl::Duration every = absl::Seconds(10)) {
    ::testing::internal::CaptureStderr();
    for (int i = 0; i < times; ++i) {
      fault_.Note(status);
      now_ += every;
    }
    return absl::StrSplit(::testing::internal::GetCapturedStderr(), '\n', absl::SkipEmpty());
  }

  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);  // 08:00 UTC
  RepeatedFault fault_{"list flows", [this] { return now_; }};
};

TEST_F(RepeatedFaultTest, LogsTheBeginAndTheEndOfAFault) {
  EXPECT_THAT(Note(absl::OkStatus(), 100), IsEmpty());
  EXPECT_THAT(Note(absl::InternalError("no"), 50),
              ElementsAre(HasSubstr(" error list flows: no fault=\"list flows\" state=failing")));
  EXPECT_THAT(Note(absl::OkStatus(), 100),
              ElementsAre(HasSubstr(" info  list flows: works again fault=\"list flows\" "
                                    "state=works failures=50 seconds=500")));
  EXPECT_THAT(Note(absl::InternalError("no")), ElementsAre(HasSubstr("list flows: no ")));
}

TEST_F(RepeatedFaultTest, SumsUpEveryTenMinutes) {
  EXPECT_THAT(Note(absl::InternalError("no"), 60), ElementsAre(HasSubstr("list flows: no ")));
  EXPECT_THAT(Note(absl::InternalError("no"), 60),
              ElementsAre(HasSubstr("list flows: still failing, 60 times since 08:00: no "
                                    "fault=\"list flows\" state=failing failures=60 "
                                    "since=2027-01-15T08:00:00Z")));
  EXPECT_THAT(Note(absl::InternalError("no"), 60),
              ElementsAre(HasSubstr("still failing, 120 times since 08:00")));
}

TEST_F(RepeatedFaultTest, SumsUpAFaultThatComesAndGoes) {
  std::vector<std::string> lines;
  for (int i = 0; i < 30; ++i) {
    for (const absl::Status& status : {absl::InternalError("no"), absl::OkStatus()}) {
      for (std::string& line : Note(status)) lines.push_back(line);
    }
  }
  EXPECT_EQ(lines.size(), 6U);
  EXPECT_THAT(Note(absl::OkStatus()),
              ElementsAre(HasSubstr("list flows: comes and goes, failed 30 times since 08:00, "
                                    "works now; last: no")));
  EXPECT_THAT(Note(absl::OkStatus(), 1000), IsEmpty());
}

TEST_F(RepeatedFaultTest, SumsUpAFaultWhoseMessageChanges) {
  std::vector<std::string> lines;
  for (int i = 0; i < 60; ++i) {
    for (std::string& line : Note(absl::InternalError(absl::StrCat("no ", i)))) {
      lines.push_back(line);
    }
  }
  EXPECT_EQ(lines.size(), 6U);
  EXPECT_THAT(Note(absl::InternalError("no 60")),
              ElementsAre(HasSubstr("still failing, 60 times since 08:00: no 59 "),
                          HasSubstr("list flows: no 60 ")));
}

TEST_F(RepeatedFaultTest, RemindLogsTheSummaryWithoutANewFailure) {
  EXPECT_EQ(Note(absl::InternalError("no")).size(), 1U);
  now_ += absl::Minutes(9);
  ::testing::internal::CaptureStderr();
  fault_.Remind();
  now_ += absl::Minutes(1);
  fault_.Remind();
  fault_.Remind();
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("list flows: still failing, 1 time since 08:00: no"));
  now_ += absl::Minutes(9);
  ::testing::internal::CaptureStderr();
  fault_.Remind();
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace npg::log::repeated_fault_test
