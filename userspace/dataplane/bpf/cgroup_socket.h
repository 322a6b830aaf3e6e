// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_SOCKET_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_SOCKET_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace npg::dataplane {

struct CgroupSocket {
  base::UniqueFd fd;
  // OK when the socket belongs to the cgroup (for the root of the hierarchy: to any cgroup).
  // Otherwise why not: this process created the socket, so it belongs to this process's
  // cgroup, which may be in or below that one or not.
  absl::Status entered;
};

// Creates a socket that belongs to the cgroup2 `cgroup_fd`: the kernel runs a cgroup's
// programs for the sockets that its processes created, whichever process uses them
// later. This process need not be in the cgroup. Arguments and errors as socket(2);
// NOT_FOUND when the cgroup was removed. Takes at most half a second.
//
// A child process that starts in the cgroup creates it (CLONE_INTO_CGROUP, kernel commit
// ef2c41cf38a7, 5.7). It has no other descriptor of this process than those it
// needs, where the kernel has close_range(2) (5.9) and a seccomp profile permits it.
absl::StatusOr<CgroupSocket> SocketInCgroup(int cgroup_fd, int family, int type);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_SOCKET_H_
