// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_SHELL_WORDS_H_
#define NODEPORT_GUARD_BASE_SHELL_WORDS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::base {

// Splits a line into words as the shell would: double quotes keep blanks, a backslash
// keeps the character after it. nullopt when a quote is not closed.
std::optional<std::vector<std::string>> ShellWords(absl::string_view line);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_SHELL_WORDS_H_
