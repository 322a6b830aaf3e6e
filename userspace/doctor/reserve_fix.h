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

// How NodePorts that are too many to be reserved one by one are kept apart from the ports that the
// kernel hands out, which are `local`: by the ranges of both. `nodeports` reaches from the first to
// the last of them.
std::string RangeFix(const core::PortRange& local, const core::PortRange& nodeports);

}  // namespace npg::doctor

#endif  // NODEPORT_GUARD_DOCTOR_RESERVE_FIX_H_
