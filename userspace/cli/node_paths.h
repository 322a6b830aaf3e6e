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

// A cgroup2 mount. `root` is the cgroup that it begins at, as the reader's cgroup
// namespace has it (cgroup_namespaces(7)): "/" is where that begins, and "/../.." is
// two levels above.
struct Cgroup2Mount {
  std::string path;
  std::string root;
};

// The cgroup2 mounts, in the order of mountinfo, from its text.
std::vector<Cgroup2Mount> ParseCgroup2Mounts(absl::string_view mountinfo);

// Whether `cgroup` is `root` or below it; both as the reader's namespace has them.
bool IsBelowCgroup(absl::string_view cgroup, absl::string_view root);

// Where the cgroups of this node begin: the root of the hierarchy, or, on a node that is
// itself a container (kind, k3d, LXC), what holds the node's init and this process.
// FAILED_PRECONDITION, with what to do, where no cgroup2 is mounted, or only the
// cgroup of the container that this process is in. Reads self/mountinfo, self/cgroup
// and 1/cgroup of `proc`.
absl::StatusOr<std::string> FindCgroup2Root(const std::string& proc = kProc);

// OK for a folder on a cgroup2 file system. A usage error, naming --cgroup, for
// anything else: a file, another file system, nothing there. FAILED_PRECONDITION for a
// mount of the cgroup of the container that this process is in.
absl::Status CheckCgroup(const std::string& path, const std::string& proc = kProc);

// OK for a folder on a bpf file system. FAILED_PRECONDITION otherwise, with the
// command that mounts one.
absl::Status CheckBpffs(const std::string& path);

// The cgroup to work on: what --cgroup says, checked, or else the root.
absl::StatusOr<std::string> ResolveCgroup(const NodeOptions& options,
                                          const std::string& proc = kProc);

}  // namespace npg::cli

#endif  // NODEPORT_GUARD_CLI_NODE_PATHS_H_
