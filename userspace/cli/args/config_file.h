// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_CONFIG_FILE_H_
#define NODEPORT_GUARD_CLI_ARGS_CONFIG_FILE_H_

#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"

namespace npg::cli {

// Flag name ("mark-mask") → its values as written in the file; one for a scalar,
// any number for a list.
using ConfigValues = absl::btree_map<std::string, std::vector<std::string>>;

// Reads a YAML mapping from flag names to scalars or lists of scalars. The flags
// parse the values. A usage error, naming file and line, for a file that cannot
// be read, is no such mapping, is larger than 1 MiB, or has a key that is
// repeated or not in `known`.
absl::StatusOr<ConfigValues> ReadConfigFile(const std::string& path,
                                            const absl::btree_set<std::string>& known);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_CONFIG_FILE_H_
