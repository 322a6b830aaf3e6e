// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_SOCKET_LB_H_
#define NODEPORT_GUARD_NODE_SOCKET_LB_H_

#include <string>

#include "absl/strings/string_view.h"
#include "node/cgroup_programs.h"

namespace npg::node {

// "Cilium", "Calico", "LoxiLB" or "Kmesh": whose socket load balancer has a program of this name,
// as the kernel has it (cut at 15 bytes). Empty for other programs.
absl::string_view SocketLbOf(absl::string_view program);

// Whether one of these is a connect program of Cilium.
bool HasCiliumConnect(const CgroupPrograms& programs);

// Whether the connect programs of Cilium's socket load balancer run for the processes of `cgroup`:
// by their pins below `bpffs` (since Cilium 1.14), or by their names on that cgroup and those
// above it, for which the kernel requires CAP_SYS_ADMIN. False where neither is readable, or
// `cgroup` is empty and there is no pin.
bool HasCiliumSocketLb(const std::string& bpffs, const std::string& cgroup);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_SOCKET_LB_H_
