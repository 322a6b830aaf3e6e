// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_ARGS_TEXT_H_
#define NODEPORT_GUARD_CLI_ARGS_TEXT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::cli {

// Columns that `text` takes on a terminal; one for each code point.
size_t DisplayWidth(absl::string_view text);

// Breaks `text` at blanks into at least one line of at most `width` columns. A
// longer word has its own line.
std::vector<std::string> Wrap(absl::string_view text, size_t width);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_ARGS_TEXT_H_
