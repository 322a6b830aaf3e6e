// SPDX-License-Identifier: Apache-2.0
#include "controller/socket_holders.h"

#include <fcntl.h>
#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "controller/owner_search.h"
#include "core/listener.h"
#include "node/cgroups.h"
#include "node/owners.h"

namespace npg::controller {
namespace {

// The id of a cgroup by its path in /proc/PID/cgroup; 0 when that is empty, outside this
// process's cgroup namespace, or removed.
uint64_t CgroupIdAt(const std::string& root, const std::string& path) {
  if (path.empty() || path == "/.." || absl::StartsWith(path, "/../")) return 0;
  const base::UniqueFd folder(
      open(absl::StrCat(root, path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  return folder ? node::CgroupId(folder.get()).value_or(0) : 0;
}

}  // namespace

const SocketHolder* SocketProcess::HolderOf(pid_t holder_pid) const {
  const auto holder =
      std::find_if(holders.begin(), holders.end(),
                   [holder_pid](const SocketHolder& one) { return one.pid == holder_pid; });
  return holder == holders.end() ? nullptr : &*holder;
}

SocketHolders::SocketHolders(std::string cgroup_root, bool with_cgroups)
    : cgroup_root_(std::move(cgroup_root)), with_cgroups_(with_cgroups) {}

void SocketHolders::Learn(const OwnerSearch::Found& found) {
  // A process that not even CAP_SYS_PTRACE can read does not count: a security module of the node
  // may hide some for good.
  const bool complete = found.gaps.skipped_processes == 0;
  for (const core::Listener& socket : found.sockets) {
    SocketProcess process;
    process.pid = socket.owner.pid;
    process.comm = socket.owner.comm;
    process.complete = complete;
    if (const auto holders = found.holders.find(socket.inode); holders != found.holders.end()) {
      for (const node::Holder& one : holders->second) {
        const uint64_t cgroup_id = with_cgroups_ ? CgroupIdAt(cgroup_root_, one.cgroup) : 0;
        process.holders.push_back({one.pid, one.descriptor, one.uid, cgroup_id});
      }
    }
    processes_[socket.inode] = std::move(process);
  }
}

const SocketProcess* SocketHolders::Find(uint64_t inode) const {
  const auto process = processes_.find(inode);
  return process == processes_.end() ? nullptr : &process->second;
}

SocketProcess* SocketHolders::Find(uint64_t inode) {
  const auto process = processes_.find(inode);
  return process == processes_.end() ? nullptr : &process->second;
}

std::vector<core::Listener> SocketHolders::Unknown(
    const std::vector<core::Listener>& listeners) const {
  std::vector<core::Listener> unknown;
  for (const core::Listener& listener : listeners) {
    if (listener.noted || listener.inode == 0) continue;
    const SocketProcess* const process = Find(listener.inode);
    if (process == nullptr || process->retry) unknown.push_back(listener);
  }
  return unknown;
}

void SocketHolders::RetryUnknown() {
  for (auto& [inode, process] : processes_)
    process.retry = process.pid == 0 || process.refused || process.no_note;
}

void SocketHolders::Keep(const absl::flat_hash_set<uint64_t>& inodes) {
  absl::erase_if(processes_, [&](const auto& entry) { return !inodes.contains(entry.first); });
}

}  // namespace npg::controller
