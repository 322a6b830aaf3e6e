// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/doctor_report.h"
#include "cli/table.h"
#include "doctor/finding.h"

namespace npg::cli::doctor_test {
namespace {

using doctor::Finding;
using doctor::FindingId;
using doctor::Severity;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<Finding> Findings() {
  return {{FindingId::kKernelPrograms, Severity::kOk, "can load", ""},
          {FindingId::kBpffs, Severity::kFail, "is not there", "mount -t bpf bpf /x", true},
          {FindingId::kMarkCollision, Severity::kWarn, "ip rule: \x1b[2J", "run --mark 0x800"},
          {FindingId::kGuard, Severity::kNote, "no guard is loaded", "nodeport-guard run"}};
}

TEST(DoctorReportTest, WorstFirstAndOkLast) {
  const std::string text = RenderDoctor(Findings(), Style{});
  EXPECT_THAT(text, StartsWith("This node cannot be guarded like this: 1 failure, 1 warning.\n"
                               "\n"
                               "FAIL  bpffs\n"
                               "      what: is not there\n"
                               "      why:  pins on a bpf file system"));
  EXPECT_THAT(text, HasSubstr("      fix:  mount -t bpf bpf /x\n"));
  EXPECT_THAT(text, HasSubstr("ip rule: \\x1b[2J")) << "control characters are escaped";
  EXPECT_LT(text.find("FAIL"), text.find("WARN"));
  EXPECT_LT(text.find("WARN"), text.find("NOTE"));
  EXPECT_THAT(text, HasSubstr("OK  kernel-programs  can load\n"));
}

// A user copies it, and a terminal wraps it without inserting characters.
TEST(DoctorReportTest, AFixIsOneLine) {
  const std::string fix = std::string(300, 'x') + " " + std::string(300, 'y');
  EXPECT_THAT(RenderDoctor({{FindingId::kBpffs, Severity::kFail, "", fix, true}}, Style{}),
              HasSubstr(fix));
}

TEST(DoctorReportTest, AHealthyNode) {
  EXPECT_THAT(RenderDoctor({{FindingId::kBpffs, Severity::kOk, "is one", ""}}, Style{}),
              StartsWith("This node can be guarded.\n"));
}

TEST(DoctorReportTest, AFailureThatPreventsNothing) {
  const std::vector<Finding> findings = {
      {FindingId::kGuardProblem, Severity::kFail, "broken", "run"}};
  EXPECT_THAT(RenderDoctor(findings, Style{}),
              StartsWith("This node can be guarded: 1 failure.\n"));
  EXPECT_EQ(DoctorJson(findings)["capable"], true);
}

TEST(DoctorReportTest, Json) {
  const nlohmann::ordered_json json = DoctorJson(Findings());
  EXPECT_EQ(json["capable"], false);
  EXPECT_EQ(json["failures"], 1);
  EXPECT_EQ(json["warnings"], 1);
  ASSERT_EQ(json["findings"].size(), 4);
  EXPECT_EQ(json["findings"][1]["id"], "bpffs");
  EXPECT_EQ(json["findings"][1]["severity"], "fail");
  EXPECT_EQ(json["findings"][1]["prevents"], true);
  EXPECT_EQ(json["findings"][1]["fix"], "mount -t bpf bpf /x");
  EXPECT_TRUE(json["findings"][0]["fix"].is_null());
}

}  // namespace
}  // namespace npg::cli::doctor_test
