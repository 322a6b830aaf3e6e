// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_GATHER_H_
#define NODEPORT_GUARD_CLI_GATHER_H_

#include <functional>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "core/port.h"
#include "inspect/guard_facts.h"
#include "node/sock_diag.h"
#include "node/untracked_obstacles.h"

namespace npg::cli {

// Runs inspect::GatherGuardFacts() with the options. An invalid --cgroup is an error; a node
// whose cgroup2 is no longer mounted still has a status. `obstacles` as in inspect::GuardPlace.
absl::StatusOr<inspect::GuardFacts> Gather(
    const NodeOptions& options,
    const std::function<bool(const core::PortKey&, bool nodeport)>& interesting,
    std::optional<std::vector<node::UntrackedObstacle>> obstacles = std::nullopt);

// The listeners of this network namespace that are `wanted`, with the records of a loaded guard,
// if any. Owners are not filled in.
absl::StatusOr<node::ListenersOn> ListListeners(
    const NodeOptions& options, absl::FunctionRef<bool(const core::PortKey&)> wanted);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_GATHER_H_
