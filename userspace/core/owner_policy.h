// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_OWNER_POLICY_H_
#define NODEPORT_GUARD_CORE_OWNER_POLICY_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::core {

// Selects the guarded listeners by the name of their process (comm, at most 15 bytes):
// all but those of `ignored`, or, if `only` has names, only theirs.
struct OwnerPolicy {
  std::vector<std::string> ignored;
  std::vector<std::string> only;

  // The default for a name in neither list. Only other owners need an entry in the map
  // `listeners`.
  bool IgnoresByDefault() const { return !only.empty(); }
  // True when listeners of this process are ignored. An unknown owner ("") counts as a
  // name in neither list.
  bool Ignores(absl::string_view comm) const;
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_OWNER_POLICY_H_
