// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_OWNER_FLAGS_H_
#define NODEPORT_GUARD_CLI_ARGS_OWNER_FLAGS_H_

#include <memory>

#include "absl/status/status.h"
#include "cli/args/flags.h"
#include "core/owner_policy.h"

namespace npg::cli {

// The flags that select the listeners that are guarded. `policy` has the defaults.
void AddOwnerFlags(FlagSet& flags, const std::shared_ptr<core::OwnerPolicy>& policy);

// Settles --ignore-process and --only-process with each other: what the one names is not ignored
// by default.
absl::Status SettleOwnerPolicy(core::OwnerPolicy& policy);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_OWNER_FLAGS_H_
