// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_GATHER_H_
#define NODEPORT_GUARD_CLI_GATHER_H_

#include <functional>

#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "core/port.h"
#include "inspect/guard_facts.h"

namespace npg::cli {

// Runs inspect::GatherGuardFacts() with the options. An invalid --cgroup is an error; a node
// whose cgroup2 is no longer mounted still has a status.
absl::StatusOr<inspect::GuardFacts> Gather(
    const NodeOptions& options,
    const std::function<bool(const core::PortKey&, bool nodeport)>& interesting);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_GATHER_H_
