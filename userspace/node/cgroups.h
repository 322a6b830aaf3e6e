// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_CGROUPS_H_
#define NODEPORT_GUARD_NODE_CGROUPS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace npg::node {

// The id of the root of every cgroup2 hierarchy, which is its folder's inode number
// (kernfs numbers its nodes from 1; since Linux 5.5 a cgroup's id is that of its node).
inline constexpr uint64_t kRootCgroupId = 1;

// The id of the cgroup2 folder `cgroup_fd`.
absl::StatusOr<uint64_t> CgroupId(int cgroup_fd);

// Whether it is the root of the hierarchy, which every process is in or below; the root of a
// cgroup namespace is not. False for a folder of another file system.
bool IsHierarchyRoot(int cgroup_fd);
bool IsHierarchyRoot(const std::string& folder);

// The folder of the cgroup with this id, under the mount on which
// `cgroup_folder` lies: "/sys/fs/cgroup/system.slice/kubelet.service". Empty
// when there is no such cgroup, or without CAP_DAC_READ_SEARCH.
std::string CgroupPath(const std::string& cgroup_folder, uint64_t cgroup_id);

// The same, below the root of the hierarchy, as in /proc/PID/cgroup:
// "/system.slice/kubelet.service".
std::string CgroupBelowRoot(const std::string& cgroup_folder, uint64_t cgroup_id);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_CGROUPS_H_
