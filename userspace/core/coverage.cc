// SPDX-License-Identifier: Apache-2.0
#include "core/coverage.h"

#include <algorithm>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::core {

absl::string_view Name(Coverage coverage) {
  switch (coverage) {
    case Coverage::kAll:
      return "all";
    case Coverage::kPart:
      return "part";
    case Coverage::kNone:
      break;
  }
  return "none";
}

Coverage Together(const std::vector<Coverage>& read, bool failed) {
  if (read.empty()) return Coverage::kNone;
  const Coverage best = *std::min_element(read.begin(), read.end());
  return best == Coverage::kAll && failed ? Coverage::kPart : best;
}

}  // namespace npg::core
