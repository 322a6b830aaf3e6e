// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_OWNER_POLICY_H_
#define NODEPORT_GUARD_CORE_OWNER_POLICY_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::core {

// Whose listeners are guarded, by the name of the process as the kernel keeps it
// (comm, at most 15 bytes): either everybody's but those of `ignored`, or, where
// `only` has names, nobody's but theirs.
struct OwnerPolicy {
  std::vector<std::string> ignored;
  std::vector<std::string> only;

  // What holds for a name that neither list has. The kernel side writes down
  // only owners for whom something else holds.
  bool IgnoresByDefault() const { return !only.empty(); }
  // True when a listener of this process is no victim. One whose owner could
  // not be found ("") is judged as any other name is.
  bool Ignores(absl::string_view comm) const;
};

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_OWNER_POLICY_H_
