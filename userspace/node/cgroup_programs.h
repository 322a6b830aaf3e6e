// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_CGROUP_PROGRAMS_H_
#define NODEPORT_GUARD_NODE_CGROUP_PROGRAMS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace npg::node {

// Where a cgroup lies, seen from the one that is guarded.
enum class CgroupRelation { kAbove, kSame, kBelow };

// What is attached to one cgroup at one of the guard's hooks.
struct AttachedPrograms {
  struct Program {
    uint32_t id = 0;
    std::string name;   // empty where it may not be asked for
    bool ours = false;  // of the guard that is pinned
  };
  std::string cgroup;  // its folder
  CgroupRelation relation = CgroupRelation::kSame;
  std::string hook;    // as bpftool names it: "connect4"
  uint32_t flags = 0;  // BPF_F_ALLOW_...: how all of them were attached
  std::vector<Program> programs;
};

struct CgroupPrograms {
  // From the root down to the guarded one, then those below it.
  std::vector<AttachedPrograms> attached;
  size_t unread = 0;  // cgroups that were not looked at
};

// Asks at the guard's four hooks of `cgroup`, of those above it and, unless told otherwise, of
// those below it, of which a node may have thousands. `own` are the ids of the guard's programs.
// PERMISSION_DENIED without CAP_NET_ADMIN.
absl::StatusOr<CgroupPrograms> ReadCgroupPrograms(const std::string& cgroup,
                                                  const std::vector<uint32_t>& own,
                                                  bool with_those_below = true);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_CGROUP_PROGRAMS_H_
