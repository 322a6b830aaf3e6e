// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_WORKLOAD_H_
#define NODEPORT_GUARD_CORE_WORKLOAD_H_

#include <string>

#include "absl/strings/string_view.h"

namespace npg::core {

// The workload of a process, from the path of its cgroup. Unknown fields are empty.
struct Workload {
  // The innermost systemd unit, escaped as in systemd: "containerd.service",
  // "session-3.scope". Empty for a container, whose scope only repeats its id.
  std::string unit;
  // metadata.uid of the pod; of a static pod the hash of its manifest.
  std::string pod_uid;
  std::string container_id;  // 64 hexadecimal digits, as a rule
  // "containerd", "cri-o", "docker", "podman"; empty if the path has only the id
  // (cgroupfs driver).
  std::string runtime;

  bool empty() const { return unit.empty() && pod_uid.empty() && container_id.empty(); }
  bool operator==(const Workload&) const = default;
};

// Parses the path of a cgroup below its root, in any hierarchy, by the naming schemes of
// kubelet's systemd and cgroupfs drivers and of containerd, CRI-O, docker and podman;
// ignores other names. Every process that may create a cgroup chooses its name, so the
// result is for display only: no decision uses it.
Workload ParseCgroupPath(absl::string_view path);

// Selects the most informative path in the text of /proc/PID/cgroup (cgroups(7)): with only
// cgroup2, its only one; with cgroup v1, where a runtime may not use cgroup2, the one with a
// pod or container, or else the first that is not the root. Empty when there is none. For
// a reader in its own cgroup namespace (a pod's), the path of a process outside begins where
// the two paths diverge: it is complete for a service of the node.
std::string PickCgroupPath(absl::string_view proc_cgroup);

// "containerd.service", "pod 3f1c... container 0a1b2c3d4e5f"; empty if unknown.
std::string ToString(const Workload& workload);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_WORKLOAD_H_
