// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_SOCKET_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_SOCKET_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace npg::dataplane {

struct CgroupSocket {
  base::UniqueFd fd;
  // OK when it was born in the cgroup. Otherwise why not: it was made by this
  // process, whose cgroup it has, which may be in or below that one or not.
  absl::Status entered;
};

// A socket as a process in the cgroup2 `cgroup_fd` would have it: the programs
// of a cgroup are run for the sockets that its processes made, whoever uses them
// later. This process need not be in it. Arguments and errors as socket(2);
// NOT_FOUND when the cgroup was removed. Takes at most half a second.
//
// A child process makes it that begins its life there (CLONE_INTO_CGROUP, kernel
// commit ef2c41cf38a7, 5.7).
absl::StatusOr<CgroupSocket> SocketInCgroup(int cgroup_fd, int family, int type);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_SOCKET_H_
