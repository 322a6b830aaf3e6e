// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_DOCTOR_PORTS_H_
#define NODEPORT_GUARD_CLI_DOCTOR_PORTS_H_

#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "core/node_address.h"
#include "core/owner_policy.h"
#include "doctor/facts.h"

namespace npg::cli {

// Asks the sources for the NodePorts, and lists who listens on them. `own`: the node's addresses;
// `guarded`: those of them that are or would be guarded. The error is one of usage.
absl::StatusOr<doctor::PortFacts> ReadPortFacts(const NodeOptions& node,
                                                const SourceOptions& options,
                                                const core::AddressSet& own,
                                                const core::AddressSet& guarded,
                                                const core::OwnerRules& rules);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_DOCTOR_PORTS_H_
