// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_OWNERS_H_
#define NODEPORT_GUARD_NODE_OWNERS_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "core/listener.h"

namespace npg::node {

// What FillOwners() could not see.
struct OwnerGaps {
  int unreadable_processes = 0;  // no right to read their /proc/PID/fd
};

// Finds the owner of each listener by its socket inode, reading
// `proc_root`/PID/fd once for all of them; reads nothing when every listener
// has an owner or no inode. Owners that cannot be found stay empty (pid 0): of a
// socket that is on its way between processes, of one whose holder this process
// may not look at, or runs in a pid namespace that it does not see.
OwnerGaps FillOwners(std::vector<core::Listener>& listeners,
                     const std::string& proc_root = "/proc");

// A process, and which of some sockets it holds open.
struct Holding {
  core::Owner owner;  // without holders
  absl::flat_hash_set<uint64_t> inodes;
};

// Looks at one process, for the sockets in `wanted`. nullopt when there is no such
// process, or its descriptors cannot be read.
std::optional<Holding> LookAt(pid_t pid, const absl::flat_hash_set<uint64_t>& wanted,
                              const std::string& proc_root = "/proc");

// The cgroup of a process as FillOwners() has it; empty when it cannot be read.
std::string CgroupOf(pid_t pid, const std::string& proc_root = "/proc");

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_OWNERS_H_
