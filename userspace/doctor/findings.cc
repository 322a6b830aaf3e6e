// SPDX-License-Identifier: Apache-2.0
#include "doctor/findings.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "doctor/facts.h"
#include "doctor/finding.h"

namespace npg::doctor {
namespace {

// What could not be read is one finding, so that no silence passes for "all is well".
Finding JudgeNotSeen(const Facts& facts) {
  std::vector<std::string> lines = facts.rules.unseen;
  if (!facts.programs.ok()) {
    lines.push_back(absl::StrCat("cgroup programs: ", facts.programs.status().message()));
  } else if (facts.programs->unread > 0) {
    lines.push_back(absl::StrCat("cgroup programs: some of ", facts.programs->unread,
                                 " cgroups could not be asked"));
  }
  if (!facts.obstacles.ok()) lines.emplace_back(facts.obstacles.status().message());
  if (!facts.ports.local.ok()) lines.emplace_back(facts.ports.local.status().message());
  if (!facts.ports.reserved.ok()) lines.emplace_back(facts.ports.reserved.status().message());
  if (!facts.route_localnet.ok()) lines.emplace_back(facts.route_localnet.status().message());
  if (facts.guard.state == GuardFacts::State::kUnreadable) {
    lines.push_back(absl::StrCat("the guard: ", facts.guard.error));
  }
  if (lines.empty()) return {FindingId::kNotSeen, Severity::kOk, "everything was looked at", ""};
  return {FindingId::kNotSeen, Severity::kNote,
          absl::StrCat("not looked at: ", absl::StrJoin(lines, "; ")),
          "sudo nodeport-guard doctor"};
}

}  // namespace

std::vector<Finding> Judge(const Facts& facts) {
  std::vector<Finding> findings;
  for (const auto& judge :
       {JudgeKernel, JudgeMounts, JudgePrograms, JudgeMarks, JudgeRules, JudgeUntracked,
        JudgePortRanges, JudgePorts, JudgeKubeProxy, JudgeGuard}) {
    std::vector<Finding> more = judge(facts);
    findings.insert(findings.end(), more.begin(), more.end());
  }
  findings.push_back(JudgeNotSeen(facts));
  std::stable_sort(findings.begin(), findings.end(),
                   [](const Finding& a, const Finding& b) { return a.id < b.id; });
  return findings;
}

bool Prevented(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.prevents; });
}

}  // namespace npg::doctor
