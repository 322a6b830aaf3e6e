// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_SOURCE_FLAGS_H_
#define NODEPORT_GUARD_CLI_ARGS_SOURCE_FLAGS_H_

#include <memory>

#include "absl/status/status.h"
#include "cli/args/environment.h"
#include "cli/args/flags.h"
#include "cli/args/options.h"

namespace npg::cli {

// The flags that say where NodePorts are learned from, for every command that
// takes them.
void AddSourceFlags(FlagSet& flags, const std::shared_ptr<SourceOptions>& sources);

// Once the flags are set: finds out whether this is a cluster, and checks what
// the flags mean together. Errors as those of EffectiveSources().
absl::Status SettleSources(SourceOptions& sources, const Environment& environment);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_SOURCE_FLAGS_H_
