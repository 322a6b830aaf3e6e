// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/findings.h"

namespace npg::doctor {
namespace {

Finding JudgeVersion(const Facts& facts) {
  const GuardFacts& guard = facts.guard;
  if (guard.abi_version != facts.abi_version) {
    return {
        FindingId::kGuardVersion, Severity::kWarn,
        absl::StrCat("the guard was loaded by version ", guard.version, " with the pins' layout ",
                     guard.abi_version, "; this is ", facts.version, " with layout ",
                     facts.abi_version),
        "systemctl restart nodeport-guard (a controller of this version takes it over in place)"};
  }
  if (guard.version != facts.version) {
    return {FindingId::kGuardVersion, Severity::kNote,
            absl::StrCat("the guard was loaded by version ", guard.version, "; this is ",
                         facts.version),
            "systemctl restart nodeport-guard"};
  }
  return {FindingId::kGuardVersion, Severity::kOk,
          absl::StrCat("the guard is of this version, ", facts.version), ""};
}

Finding JudgeController(const GuardFacts& guard) {
  if (guard.controller > 0) {
    return {FindingId::kController, Severity::kOk, absl::StrCat("it runs, pid ", guard.controller),
            ""};
  }
  if (guard.controller < 0) {
    return {FindingId::kController, Severity::kOk, "it runs, in a pid namespace out of sight", ""};
  }
  return {FindingId::kController, Severity::kWarn, "no controller runs",
          "systemctl enable --now nodeport-guard"};
}

}  // namespace

std::vector<Finding> JudgeGuard(const Facts& facts) {
  const GuardFacts& guard = facts.guard;
  std::vector<Finding> findings;
  if (guard.state == GuardFacts::State::kNone) {
    return {{FindingId::kGuard, Severity::kNote,
             guard.error.empty() ? "no guard is loaded" : guard.error,
             "systemctl enable --now nodeport-guard, or nodeport-guard run"}};
  }
  if (guard.state == GuardFacts::State::kLoaded) {
    findings.push_back({FindingId::kGuard, Severity::kOk, "a guard is loaded", ""});
    for (const std::string& problem : guard.problems) {
      findings.push_back({FindingId::kGuardProblem, Severity::kFail, problem,
                          "systemctl restart nodeport-guard, or nodeport-guard run"});
    }
    if (guard.problems.empty()) {
      findings.push_back({FindingId::kGuardProblem, Severity::kOk, "all parts of it work", ""});
    }
    if (guard.standing_aside.empty()) {
      findings.push_back(
          {FindingId::kStandingAside, Severity::kOk, "it stands aside for nothing", ""});
    } else {
      findings.push_back({FindingId::kStandingAside, Severity::kFail, guard.standing_aside,
                          "see rules-track-again and rules-drop-untracked; the guard goes on by "
                          "itself once its self-probe passes"});
    }
    findings.push_back(JudgeController(guard));
  }
  if (guard.abi_version != 0) findings.push_back(JudgeVersion(facts));
  return findings;
}

}  // namespace npg::doctor
