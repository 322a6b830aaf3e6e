// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_SCAN_REPORT_H_
#define NODEPORT_GUARD_CLI_SCAN_REPORT_H_

#include <string>

#include "cli/table.h"
#include "inspect/scan.h"

namespace npg::cli {

// The output of `scan`.
std::string RenderScan(const inspect::ScanReport& report, const Style& style);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_SCAN_REPORT_H_
