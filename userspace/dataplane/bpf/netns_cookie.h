// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_NETNS_COOKIE_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_NETNS_COOKIE_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace npg::dataplane {

// The cookie of this process's network namespace, as bpf_get_netns_cookie()
// gives it: unique for the time the machine runs, never used again.
//
// Kernels since 5.14 are asked (SO_NETNS_COOKIE, e8b9eab99232). Before, a
// program that is attached to `cgroup_fd` for a moment notes the cookie of a
// connect of ours; this process has to be in that cgroup, or below it
// (FAILED_PRECONDITION otherwise).
absl::StatusOr<uint64_t> NetnsCookie(int cgroup_fd);

// As above, on kernels that can be asked; UNIMPLEMENTED on others.
absl::StatusOr<uint64_t> AskNetnsCookie();

// The program's way, on any kernel. For tests of it on kernels with both.
absl::StatusOr<uint64_t> LearnNetnsCookie(int cgroup_fd);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_NETNS_COOKIE_H_
