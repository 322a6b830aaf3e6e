// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_ID_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_ID_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace npg::dataplane {

// The kernel's id of the cgroup2 folder `cgroup_fd`.
absl::StatusOr<uint64_t> CgroupId(int cgroup_fd);

// Whether it is the root of the hierarchy, which contains every process, and not only
// the root of a cgroup namespace. False for anything but a cgroup2 folder.
bool IsHierarchyRoot(int cgroup_fd);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_ID_H_
