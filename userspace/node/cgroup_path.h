// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_CGROUP_PATH_H_
#define NODEPORT_GUARD_NODE_CGROUP_PATH_H_

#include <cstdint>
#include <string>

namespace npg::node {

// The id of the root of every cgroup2 hierarchy, which is its folder's inode number
// (kernfs numbers its nodes from 1; since Linux 5.5 a cgroup's id is that of its node).
inline constexpr uint64_t kRootCgroupId = 1;

// The folder of the cgroup with this id, under the mount on which
// `cgroup_folder` lies: "/sys/fs/cgroup/system.slice/kubelet.service". Empty
// when there is no such cgroup, or without CAP_DAC_READ_SEARCH.
std::string CgroupPath(const std::string& cgroup_folder, uint64_t cgroup_id);

// The same, below the root of the hierarchy, as in /proc/PID/cgroup:
// "/system.slice/kubelet.service".
std::string CgroupBelowRoot(const std::string& cgroup_folder, uint64_t cgroup_id);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_CGROUP_PATH_H_
