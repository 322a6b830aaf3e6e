// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_YAML_TO_JSON_H_
#define NODEPORT_GUARD_KUBERNETES_YAML_TO_JSON_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace npg::kubernetes {

// Rewrites YAML as JSON text, one for each document that holds something.
// Plain scalars that JSON knows (numbers, true, false, null) become that, all
// others strings. INVALID_ARGUMENT, with the line, for what is not YAML and for
// what JSON cannot say: aliases, mappings or lists as keys. The message quotes
// nothing of the input.
// Streams: takes memory for the result only, and time linear in the input.
absl::StatusOr<std::vector<std::string>> YamlToJson(const std::string& yaml);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_YAML_TO_JSON_H_
