// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_DOCTOR_REPORT_H_
#define NODEPORT_GUARD_CLI_DOCTOR_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/table.h"
#include "doctor/finding.h"

namespace npg::cli {

// The verdict, then what is to be done, worst first, and last what is well.
std::string RenderDoctor(const std::vector<doctor::Finding>& findings, const Style& style);

nlohmann::ordered_json DoctorJson(const std::vector<doctor::Finding>& findings);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_DOCTOR_REPORT_H_
