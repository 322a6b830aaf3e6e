// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_PROTECTION_FLAGS_H_
#define NODEPORT_GUARD_CLI_ARGS_PROTECTION_FLAGS_H_

#include <memory>

#include "absl/status/status.h"
#include "cli/args/flags.h"
#include "cli/args/options.h"

namespace npg::cli {

// What the flags below do not keep in the options.
struct ProtectionGiven {
  bool reserve_ports = false;  // --reserve-ports was given
};

// --reserve-ports, --bind-protection, and the exceptions to it.
std::shared_ptr<ProtectionGiven> AddProtectionFlags(FlagSet& flags,
                                                    const std::shared_ptr<RunOptions>& options);

// --bind-protection deny implies --reserve-ports allocated. Usage error for flags that contradict
// each other, or that have no effect.
absl::Status SettleProtection(const ProtectionGiven& given, RunOptions& options);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_PROTECTION_FLAGS_H_
