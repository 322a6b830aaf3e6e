// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DOCTOR_FINDINGS_H_
#define NODEPORT_GUARD_DOCTOR_FINDINGS_H_

#include <vector>

#include "doctor/facts.h"
#include "doctor/finding.h"

// The judgement: pure functions of facts.
namespace npg::doctor {

// In the order of FindingId. Each check yields a finding, also when all is well.
std::vector<Finding> Judge(const Facts& facts);

// Parts of it.
std::vector<Finding> JudgeKernel(const Facts& facts);
std::vector<Finding> JudgeMounts(const Facts& facts);
std::vector<Finding> JudgePrograms(const Facts& facts);
std::vector<Finding> JudgeMarks(const Facts& facts);
std::vector<Finding> JudgeRules(const Facts& facts);
std::vector<Finding> JudgeUntracked(const Facts& facts);
std::vector<Finding> JudgePortRanges(const Facts& facts);
std::vector<Finding> JudgePorts(const Facts& facts);
std::vector<Finding> JudgeKubeProxy(const Facts& facts);
std::vector<Finding> JudgeGuard(const Facts& facts);

// True when the guard cannot work here.
bool Prevented(const std::vector<Finding>& findings);

}  // namespace npg::doctor

#endif  // NODEPORT_GUARD_DOCTOR_FINDINGS_H_
