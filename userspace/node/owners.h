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

// What FillOwners() could not read.
struct OwnerGaps {
  int unreadable_processes = 0;  // no right to read their /proc/PID/fd
};

// Finds the owner of each listener by its socket inode, reading `proc_root`/PID/fd once
// for all of them; reads nothing when every listener has an owner or no inode. An owner
// that is not found stays empty (pid 0): of a socket that is being passed between
// processes, or whose holder is not readable or not in a visible pid namespace.
OwnerGaps FillOwners(std::vector<core::Listener>& listeners,
                     const std::string& proc_root = "/proc");

// A process, and the sockets of interest that it has open.
struct Holding {
  core::Owner owner;  // without holders
  absl::flat_hash_set<uint64_t> inodes;
};

// Finds the sockets of `wanted` in one process. nullopt when there is no such process, or
// its descriptors cannot be read.
std::optional<Holding> LookAt(pid_t pid, const absl::flat_hash_set<uint64_t>& wanted,
                              const std::string& proc_root = "/proc");

// The cgroup of a process as in FillOwners(); empty when it cannot be read.
std::string CgroupOf(pid_t pid, const std::string& proc_root = "/proc");

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_OWNERS_H_
