// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_STATUS_REPORT_H_
#define NODEPORT_GUARD_CLI_STATUS_REPORT_H_

#include <string>

#include "cli/table.h"
#include "inspect/status.h"

namespace npg::cli {

// The output of `status`.
std::string RenderStatus(const inspect::Status& status, const Style& style);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_STATUS_REPORT_H_
