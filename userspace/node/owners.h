// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_OWNERS_H_
#define NODEPORT_GUARD_NODE_OWNERS_H_

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/listener.h"

namespace npg::node {

// What FillOwners() may read of /proc: a link costs some microseconds, and one process may have
// a million descriptors.
struct OwnerBudget {
  size_t descriptors_of_process = size_t{32} << 10;
  size_t descriptors = size_t{256} << 10;
  absl::Duration time = absl::Seconds(1);
  const std::atomic<bool>* stop = nullptr;  // if set and true: stop at once
  size_t threads = 1;                       // that read at the same time, the caller's included
};

// What FillOwners() could not read.
struct OwnerGaps {
  int unreadable_processes = 0;  // no right to read their /proc/PID/fd
  int skipped_processes = 0;     // beyond the budget, wholly or in part
};

// A process that has a socket open.
struct Holder {
  pid_t pid = 0;
  int descriptor = -1;          // the first that it has for the socket
  std::optional<uint32_t> uid;  // real user id; nullopt: not readable
  // The path on cgroup2, as /proc/PID/cgroup has it: from the root of this process's cgroup
  // namespace, "/../..." outside it. Empty when not readable.
  std::string cgroup;
};

// By the inode of the socket.
using Holders = absl::flat_hash_map<uint64_t, std::vector<Holder>>;

// Finds the owner of each listener by its socket inode, reading `proc_root`/PID/fd once
// for all of them, first of the processes that bound them; reads nothing when every listener
// has an owner or no inode. An owner that is not found stays empty (pid 0): of a socket that
// is being passed between processes, or whose holder is not readable, not in a visible pid
// namespace, or beyond the budget. Where none of these can be, Owner::no_process is set. Adds all
// processes that it finds to `holders`, if given.
OwnerGaps FillOwners(std::vector<core::Listener>& listeners, const std::string& proc_root = "/proc",
                     const OwnerBudget& budget = {}, Holders* holders = nullptr);

// The name of a process (comm of its first thread); empty when there is no such process.
std::string CommOf(pid_t pid, const std::string& proc_root = "/proc");

// A descriptor of our own for the socket with this inode, which the process had open as
// `descriptor` (pidfd_getfd(), 8649c322f75c, since 5.6). NOT_FOUND when that is another file now,
// or the process has ended. PERMISSION_DENIED without CAP_SYS_PTRACE, or where a seccomp filter
// forbids the call.
absl::StatusOr<base::UniqueFd> DuplicateSocket(pid_t pid, int descriptor, uint64_t inode);

// The cgroup of a process as in FillOwners(); empty when it cannot be read.
std::string CgroupOf(pid_t pid, const std::string& proc_root = "/proc");

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_OWNERS_H_
