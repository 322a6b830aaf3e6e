// SPDX-License-Identifier: Apache-2.0
#include "core/owner_policy.h"

#include <algorithm>

#include "absl/strings/string_view.h"

namespace npg::core {

bool OwnerPolicy::Ignores(absl::string_view comm) const {
  if (std::find(ignored.begin(), ignored.end(), comm) != ignored.end()) return true;
  return !only.empty() && std::find(only.begin(), only.end(), comm) == only.end();
}

}  // namespace npg::core
