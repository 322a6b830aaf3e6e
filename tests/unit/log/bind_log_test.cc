// SPDX-License-Identifier: Apache-2.0
#include "log/bind_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/common.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/port.h"
#include "log/fields.h"

namespace npg::log::bind_log_test {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

ProtectedBind BindOf(uint16_t port, uint32_t uid = 1000, const std::string& comm = "python3") {
  ProtectedBind bind;
  bind.event.port = {port, core::Protocol::kTcp};
  bind.event.pid = 812;
  bind.event.uid = uid;
  bind.event.comm = comm;
  bind.event.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
  bind.event.outcome = abi::BindOutcome::kWarned;
  bind.service = "default/web";
  bind.workload.unit = "batch.service";
  return bind;
}

ProtectedBind Refused(ProtectedBind bind, int error = EADDRINUSE) {
  bind.event.outcome = abi::BindOutcome::kRefused;
  bind.event.error = error;
  return bind;
}

class BindLogTest : public ::testing::Test {
 protected:
  void Note(const ProtectedBind& bind) { log_.Note(bind, now_); }

  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
  std::vector<std::string> lines_, fields_;
  std::vector<spdlog::level::level_enum> levels_;
  BindLog log_{[this](auto level, absl::string_view message, const Fields& fields) {
    levels_.push_back(level);
    lines_.emplace_back(message);
    fields_.push_back(fields.text());
  }};
};

TEST_F(BindLogTest, NamesTheProcessAndTheService) {
  Note(BindOf(30080));
  EXPECT_THAT(lines_, ElementsAre("python3[812] (uid 1000, batch.service) bound 0.0.0.0:30080, the "
                                  "NodePort 30080/tcp of default/web"));
  EXPECT_THAT(levels_, ElementsAre(spdlog::level::warn));
  EXPECT_THAT(fields_[0], HasSubstr("event=bind_warned port=30080 protocol=tcp"));
  EXPECT_THAT(fields_[0], HasSubstr("service=default/web"));
  EXPECT_THAT(fields_[0], HasSubstr("pid=812 comm=python3 uid=1000"));
  EXPECT_THAT(fields_[0], Not(HasSubstr("error")));
}

TEST_F(BindLogTest, NamesTheErrorOfARefusal) {
  Note(Refused(BindOf(30080)));
  Note(Refused(BindOf(30081), EPERM));
  EXPECT_THAT(lines_,
              ElementsAre("python3[812] (uid 1000, batch.service) was refused 0.0.0.0:30080 "
                          "(EADDRINUSE), the NodePort 30080/tcp of default/web",
                          "python3[812] (uid 1000, batch.service) was refused 0.0.0.0:30081 "
                          "(EPERM), the NodePort 30081/tcp of default/web"));
  EXPECT_THAT(fields_[0], HasSubstr("event=bind_refused"));
  EXPECT_THAT(fields_[0], HasSubstr("error=EADDRINUSE"));
}

TEST_F(BindLogTest, OmitsWhatIsNotKnown) {
  ProtectedBind bind = BindOf(30080);
  bind.service.clear();
  bind.workload = {};
  bind.event.address = {};
  Note(bind);
  EXPECT_THAT(lines_,
              ElementsAre("python3[812] (uid 1000) bound [::]:30080, the NodePort 30080/tcp"));
  EXPECT_THAT(fields_[0], Not(HasSubstr("executable")));
  bind = BindOf(30081);
  bind.executable = "/usr/bin/python3.11";
  Note(bind);
  EXPECT_THAT(fields_[1], HasSubstr("executable=/usr/bin/python3.11"));
}

TEST_F(BindLogTest, NamesRulesWhereNoServiceIsKnown) {
  ProtectedBind bind = BindOf(30080);
  bind.service = "nft table ip nat, chain X";
  Note(bind);
  EXPECT_THAT(lines_, ElementsAre(EndsWith("30080/tcp, taken by nft table ip nat, chain X")));
}

TEST_F(BindLogTest, CountsRepetitionsInTheNextLine) {
  for (int i = 0; i < 5; ++i) Note(BindOf(30080));
  EXPECT_THAT(lines_, SizeIs(1));
  now_ += BindLog::kSilence - absl::Seconds(1);
  Note(BindOf(30080));
  EXPECT_THAT(lines_, SizeIs(1));
  now_ += absl::Seconds(1);
  Note(BindOf(30080));
  ASSERT_THAT(lines_, SizeIs(2));
  EXPECT_THAT(lines_[1], EndsWith("; 5 more times since the last line"));
  EXPECT_THAT(fields_[1], HasSubstr("repeated=5"));
  now_ += BindLog::kSilence;
  Note(BindOf(30080));
  ASSERT_THAT(lines_, SizeIs(3));
  EXPECT_THAT(lines_[2], EndsWith("default/web"));
}

TEST_F(BindLogTest, LogsEachPortNameAndUser) {
  Note(BindOf(30080));
  Note(BindOf(30081));
  Note(BindOf(30080, 1001));
  Note(BindOf(30080, 1000, "java"));
  ProtectedBind udp = BindOf(30080);
  udp.event.port.protocol = core::Protocol::kUdp;
  Note(udp);
  EXPECT_THAT(lines_, SizeIs(5));
}

TEST_F(BindLogTest, LimitsItsLines) {
  for (uint16_t i = 0; i < BindLog::kMaxLines + 20; ++i) {
    Note(BindOf(static_cast<uint16_t>(30000 + i)));
  }
  EXPECT_THAT(lines_, SizeIs(BindLog::kMaxLines));
  now_ += BindLog::kSilence;
  Note(BindOf(31000));
  ASSERT_THAT(lines_, SizeIs(BindLog::kMaxLines + 2));
  EXPECT_THAT(lines_[BindLog::kMaxLines], HasSubstr("20 further binds of NodePorts were not "
                                                    "logged (rate limit)"));
  EXPECT_THAT(lines_.back(), HasSubstr("31000/tcp"));
}

// A user can choose any number of names.
TEST_F(BindLogTest, RemembersALimitedNumber) {
  for (size_t i = 0; i < 20 * BindLog::kMaxLines; ++i) {
    if (i % BindLog::kMaxLines == 0) now_ += BindLog::kSilence;
    Note(BindOf(30080, 1000, absl::StrCat("name", i)));
    ASSERT_LE(log_.known(), BindLog::kMaxKnown);
  }
  EXPECT_THAT(lines_, SizeIs(20 * BindLog::kMaxLines));
}

}  // namespace
}  // namespace npg::log::bind_log_test
