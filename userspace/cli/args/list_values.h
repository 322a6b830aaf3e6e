// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_LIST_VALUES_H_
#define NODEPORT_GUARD_CLI_ARGS_LIST_VALUES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Values of flags that can be repeated. Errors describe the value; the caller puts the name of the
// flag before them.

namespace npg::cli {

// Process names (comm), as the kernel truncates them.
absl::Status CheckProcessNames(const std::vector<std::string>& names);

// Paths of cgroups with wildcards. `everything`: what to write instead of a pattern that selects
// every cgroup.
absl::Status CheckCgroupGlobs(const std::vector<std::string>& globs, const std::string& everything);

// The values of a list; those with a leading '+' are added to `standard`, the flag's default.
// Values that replace it and values that add to it do not go together.
absl::StatusOr<std::vector<std::string>> WithDefault(const std::vector<std::string>& values,
                                                     const std::vector<std::string>& standard);

// User ids as the initial user namespace numbers them. `also`: what else the flag takes, for the
// error: " nor 'any'".
absl::StatusOr<std::vector<uint32_t>> ParseUids(const std::vector<std::string>& values,
                                                const std::string& also);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_LIST_VALUES_H_
