// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_DECIMAL_H_
#define NODEPORT_GUARD_BASE_DECIMAL_H_

#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace npg::base {

// Parses decimal digits only: absl::SimpleAtoi() also accepts signs and blanks. nullopt
// for other text, or when the number does not fit the type.
template <typename Number>
std::optional<Number> ParseDecimal(absl::string_view text) {
  Number number = 0;
  if (text.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(text, &number)) {
    return std::nullopt;
  }
  return number;
}

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_DECIMAL_H_
