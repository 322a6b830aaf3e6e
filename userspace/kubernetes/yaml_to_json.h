// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_YAML_TO_JSON_H_
#define NODEPORT_GUARD_KUBERNETES_YAML_TO_JSON_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace npg::kubernetes {

// Converts YAML to JSON text, one for each document that is not empty. Plain scalars that
// JSON has (numbers, true, false, null) stay such, all others become strings.
// INVALID_ARGUMENT, with the line, for invalid YAML and for features that JSON lacks:
// aliases, mappings or lists as keys. The message does not quote the input. Streams: needs
// memory for the result only, and time linear in the input.
absl::StatusOr<std::vector<std::string>> YamlToJson(const std::string& yaml);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_YAML_TO_JSON_H_
