// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_NETNS_COOKIE_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_NETNS_COOKIE_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace npg::dataplane {

// The cookie of this process's network namespace, as bpf_get_netns_cookie() returns it:
// unique until the next boot, never reused.
//
// Kernels since 5.14 have SO_NETNS_COOKIE (e8b9eab99232). On older ones, a program that
// is attached to `cgroup_fd` briefly records the cookie of a connect of this process,
// which must be in or below that cgroup (FAILED_PRECONDITION otherwise).
absl::StatusOr<uint64_t> NetnsCookie(int cgroup_fd);

// By SO_NETNS_COOKIE alone; UNIMPLEMENTED on kernels without it.
absl::StatusOr<uint64_t> AskNetnsCookie();

// By the program, on any kernel. For tests on kernels that have both.
absl::StatusOr<uint64_t> LearnNetnsCookie(int cgroup_fd);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_NETNS_COOKIE_H_
