// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_ID_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_ID_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace npg::dataplane {

// The id that the kernel has for the cgroup2 folder `cgroup_fd`.
absl::StatusOr<uint64_t> CgroupId(int cgroup_fd);

// Whether it is the root of the hierarchy, which every process is in or below;
// not so the root of a cgroup namespace. False for what is no cgroup2 folder.
bool IsHierarchyRoot(int cgroup_fd);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_ID_H_
