// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DOCTOR_RESERVE_FIX_H_
#define NODEPORT_GUARD_DOCTOR_RESERVE_FIX_H_

#include <string>

#include "absl/status/statusor.h"
#include "core/port_ranges.h"

namespace npg::doctor {

// How the ports `more` are reserved besides those that are. The sysctl is set as
// a whole, so what is `reserved` is in the line, too.
std::string ReserveFix(const absl::StatusOr<core::PortRanges>& reserved,
                       const core::PortRanges& more);

}  // namespace npg::doctor

#endif  // NODEPORT_GUARD_DOCTOR_RESERVE_FIX_H_
