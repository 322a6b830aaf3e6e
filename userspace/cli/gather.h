// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_GATHER_H_
#define NODEPORT_GUARD_CLI_GATHER_H_

#include <functional>

#include "absl/status/statusor.h"
#include "cli/args/options.h"
#include "core/port.h"
#include "inspect/guard_facts.h"

namespace npg::cli {

// inspect::GatherGuardFacts() where the options say. A --cgroup that is none is an error; a
// node that has no cgroup2 mounted any more still has a status.
absl::StatusOr<inspect::GuardFacts> Gather(
    const NodeOptions& options,
    const std::function<bool(const core::PortKey&, bool nodeport)>& interesting);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_GATHER_H_
