// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_WORKLOAD_H_
#define NODEPORT_GUARD_CORE_WORKLOAD_H_

#include <string>

#include "absl/strings/string_view.h"

namespace npg::core {

// What a process belongs to, as far as the path of its cgroup tells. Fields that
// it does not tell are empty.
struct Workload {
  // The innermost systemd unit, escaped as systemd has it: "containerd.service",
  // "session-3.scope". Empty for a container: its scope says no more than its id.
  std::string unit;
  // metadata.uid of the pod; of a static pod the hash of its manifest.
  std::string pod_uid;
  std::string container_id;  // 64 hexadecimal digits, as a rule
  // "containerd", "cri-o", "docker", "podman"; empty when the path does not say
  // (cgroupfs driver: the id stands alone there).
  std::string runtime;

  bool empty() const { return unit.empty() && pod_uid.empty() && container_id.empty(); }
  bool operator==(const Workload&) const = default;
};

// From the path of a cgroup below its root, of any hierarchy: as kubelet's
// systemd and cgroupfs drivers and containerd, CRI-O, docker and podman name
// them. Only names that look as these make them are believed; a path is written
// by whoever may make a cgroup, so what it says is for people to read and no
// decision rests on it.
Workload ParseCgroupPath(absl::string_view path);

// The path that tells most, from the text of /proc/PID/cgroup (cgroups(7)): on a
// node with cgroup2 alone its only one; with the old hierarchies, where a
// runtime may leave the cgroup2 one alone, the one that names a pod or container,
// or else the first that is not the root. Empty when there is none. For a reader in a
// cgroup namespace of its own (a pod's), the path of what lies outside it begins where
// both ways part: complete for a service of the node.
std::string PickCgroupPath(absl::string_view proc_cgroup);

// "containerd.service", "pod 3f1c... container 0a1b2c3d4e5f"; empty when nothing is known.
std::string ToString(const Workload& workload);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_WORKLOAD_H_
