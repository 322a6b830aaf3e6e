// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_SOURCE_FLAGS_H_
#define NODEPORT_GUARD_CLI_ARGS_SOURCE_FLAGS_H_

#include <memory>

#include "absl/status/status.h"
#include "cli/args/environment.h"
#include "cli/args/flags.h"
#include "cli/args/options.h"

namespace npg::cli {

// Adds the flags that select the sources of NodePorts.
void AddSourceFlags(FlagSet& flags, const std::shared_ptr<SourceOptions>& sources);

// Call it after the flags are set: detects a pod's service account, and checks
// the flags against each other. Errors as those of EffectiveSources().
absl::Status SettleSources(SourceOptions& sources, const Environment& environment);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_SOURCE_FLAGS_H_
