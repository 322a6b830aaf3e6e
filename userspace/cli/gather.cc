// SPDX-License-Identifier: Apache-2.0
#include "cli/gather.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "cli/node_paths.h"
#include "core/port.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "inspect/guard_facts.h"
#include "node/sock_diag.h"
#include "node/untracked_obstacles.h"

namespace npg::cli {

absl::StatusOr<inspect::GuardFacts> Gather(
    const NodeOptions& options,
    const std::function<bool(const core::PortKey&, bool nodeport)>& interesting,
    std::optional<std::vector<node::UntrackedObstacle>> obstacles) {
  const absl::StatusOr<std::string> cgroup = ResolveCgroup(options);
  if (!cgroup.ok() && !options.cgroup.empty()) return cgroup.status();
  return inspect::GatherGuardFacts({options.bpffs, cgroup.value_or(""), std::move(obstacles)},
                                   interesting);
}

absl::StatusOr<node::ListenersOn> ListListeners(
    const NodeOptions& options, absl::FunctionRef<bool(const core::PortKey&)> wanted) {
  const auto state = dataplane::GuardState::Open(dataplane::PinPaths(options.bpffs));
  if (!state.ok()) return node::ListListenersOn(wanted);
  auto found = state->Records().ListListenersOn(wanted);
  return found.ok() ? std::move(found) : node::ListListenersOn(wanted);
}

}  // namespace npg::cli
