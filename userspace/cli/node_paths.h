// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CLI_NODE_PATHS_H_
#define NODEPORT_GUARD_CLI_NODE_PATHS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/args/options.h"

namespace npg::cli {

inline constexpr const char* kProc = "/proc";

// A cgroup2 mount. `root` is the cgroup that it begins at, relative to the reader's cgroup
// namespace (cgroup_namespaces(7)): "/" is the root of that, "/../.." two levels above.
struct Cgroup2Mount {
  std::string path;
  std::string root;
};

// The cgroup2 mounts, in the order of mountinfo, from its text.
std::vector<Cgroup2Mount> ParseCgroup2Mounts(absl::string_view mountinfo);

// Whether `cgroup` is `root` or below it; both relative to the reader's namespace.
bool IsBelowCgroup(absl::string_view cgroup, absl::string_view root);

// The root of this node's cgroups: the root of the hierarchy, or, on a node that is itself
// a container (kind, k3d, LXC), the cgroup that contains the node's init and this process.
// FAILED_PRECONDITION, with a remedy, if no cgroup2 is mounted, or only the cgroup of this
// process's container. Reads self/mountinfo, self/cgroup and 1/cgroup of `proc`.
absl::StatusOr<std::string> FindCgroup2Root(const std::string& proc = kProc);

// OK for a folder on a cgroup2 file system. A usage error, naming --cgroup, for a file,
// another file system, or a path that does not exist. FAILED_PRECONDITION for a mount of
// the cgroup of this process's container.
absl::Status CheckCgroup(const std::string& path, const std::string& proc = kProc);

// OK for a folder on a bpf file system. FAILED_PRECONDITION otherwise, with the
// command that mounts one.
absl::Status CheckBpffs(const std::string& path);

// The cgroup to use: that of --cgroup, checked, or else the root.
absl::StatusOr<std::string> ResolveCgroup(const NodeOptions& options,
                                          const std::string& proc = kProc);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_NODE_PATHS_H_
