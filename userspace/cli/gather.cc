// SPDX-License-Identifier: Apache-2.0
#include "cli/gather.h"

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "cli/node_paths.h"
#include "core/port.h"
#include "inspect/guard_facts.h"

namespace npg::cli {

absl::StatusOr<inspect::GuardFacts> Gather(
    const NodeOptions& options,
    const std::function<bool(const core::PortKey&, bool nodeport)>& interesting) {
  const absl::StatusOr<std::string> cgroup = ResolveCgroup(options);
  if (!cgroup.ok() && !options.cgroup.empty()) return cgroup.status();
  return inspect::GatherGuardFacts({options.bpffs, cgroup.value_or("")}, interesting);
}

}  // namespace npg::cli
