// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_NODE_PATHS_H_
#define NODEPORT_GUARD_CLI_NODE_PATHS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/options.h"

namespace npg::cli {

inline constexpr const char* kMountinfo = "/proc/self/mountinfo";

// The mount points of cgroup2 file systems, of parts of a hierarchy too, in the order of
// mountinfo, from its text. What it says of the root of a mount is relative to the reader's
// cgroup namespace (cgroup_namespaces(7)): "/" in a container is that container's cgroup.
std::vector<std::string> ParseCgroup2Mounts(absl::string_view mountinfo);

// Where the root of the node's cgroup2 hierarchy is mounted. FAILED_PRECONDITION, with
// what to do, where no cgroup2 is mounted, or only a part of one.
absl::StatusOr<std::string> FindCgroup2Root(const std::string& mountinfo = kMountinfo);

// OK for a folder on a cgroup2 file system. A usage error, naming --cgroup, for
// anything else: a file, another file system, nothing there. FAILED_PRECONDITION for a
// mount point that is not the root of the hierarchy.
absl::Status CheckCgroup(const std::string& path);

// OK for a folder on a bpf file system. FAILED_PRECONDITION otherwise, with the
// command that mounts one.
absl::Status CheckBpffs(const std::string& path);

// The cgroup to work on: what --cgroup says, checked, or else the root.
absl::StatusOr<std::string> ResolveCgroup(const NodeOptions& options,
                                          const std::string& mountinfo = kMountinfo);

// The folder of the cgroup with this id, under the mount on which
// `cgroup_folder` lies: "/sys/fs/cgroup/system.slice/kubelet.service". Empty
// when there is no such cgroup, or without CAP_DAC_READ_SEARCH.
std::string CgroupPath(const std::string& cgroup_folder, uint64_t cgroup_id);

// The same, below the root of the hierarchy, as /proc/PID/cgroup has it:
// "/system.slice/kubelet.service".
std::string CgroupBelowRoot(const std::string& cgroup_folder, uint64_t cgroup_id);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_NODE_PATHS_H_
