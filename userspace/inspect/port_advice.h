// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_PORT_ADVICE_H_
#define NODEPORT_GUARD_INSPECT_PORT_ADVICE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/port_overlap.h"
#include "core/port_ranges.h"

// Texts about NodePorts among the ports that the kernel assigns, and about what keeps them apart.

namespace npg::inspect {

// "0.43%", "20.4%", "under 0.01%".
std::string PercentText(double probability);

// How much overlaps, how likely a collision is, and what the advised setting costs, as one clause;
// empty without an overlap.
std::string OverlapFacts(const core::PortOverlap& overlap);

// The one setting that ends the overlap, with how it is kept: one line. Empty without an overlap.
std::string OverlapFix(const core::PortOverlap& overlap);

// Both as two sentences of less than 1024 bytes, for a Kubernetes Event; empty without an overlap.
std::string OverlapAdvice(const core::PortOverlap& overlap);

// How the ports `more` are reserved besides those that are. The sysctl is set as
// a whole, so what is `reserved` is in the line, too.
std::string ReserveFix(const absl::StatusOr<core::PortRanges>& reserved,
                       const core::PortRanges& more);

// What reserving does not change, as sentences.
absl::string_view LimitsOfReserving();

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_PORT_ADVICE_H_
