// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_OUTPUT_H_
#define NODEPORT_GUARD_CLI_OUTPUT_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cli/args/options.h"

namespace npg::cli {

// The value as JSON on one line, without a newline. What is not UTF-8 is replaced.
std::string ToJsonLine(const nlohmann::ordered_json& value);

// The value as an indented JSON or a YAML document (the same keys and values in
// both, in the same order), ending in a newline. For kJson and kYaml only.
std::string ToDocument(const nlohmann::ordered_json& value, OutputFormat format);

// Writes all of `text` to standard output. A closed pipe (EPIPE) or a full disk is
// an error.
absl::Status WriteOut(absl::string_view text);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_OUTPUT_H_
