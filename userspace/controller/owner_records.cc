// SPDX-License-Identifier: Apache-2.0
#include "controller/owner_records.h"

#include <sys/types.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "controller/socket_holders.h"
#include "controller/socket_id.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_ranges.h"
#include "node/node_files.h"

namespace npg::controller {

core::PortRange AutomaticPorts() {
  constexpr core::PortRange kUsual = {32768, 60999};  // the kernel's default
  return node::ReadLocalPortRange("/proc").value_or(kUsual);
}

// A guard of this ABI has noted every bind() since it was attached, so a socket without a note
// may have become a listener under it. Those it has a record of by address were judged before.
void OwnerRecords::KnowEarlier(const std::vector<core::Listener>& listeners, bool guarded_before) {
  for (const core::Listener& listener : listeners) {
    if (listener.noted) continue;
    const std::optional<core::Binder>& binder = listener.binder;
    if (!guarded_before) {
      earlier_[SocketOf(listener)] = 0;
    } else if (binder && binder->uid == listener.uid && binder->cgroup_id == listener.cgroup_id) {
      earlier_[SocketOf(listener)] = binder->pid;
    }
  }
}

bool OwnerRecords::Trusted(const core::Listener& listener) const {
  if (rules_.policy.any_uid) return true;
  const SocketProcess* const process = holders_.Find(listener.inode);
  const bool found = process != nullptr && process->pid != 0;
  if (const auto earlier = earlier_.find(SocketOf(listener)); earlier != earlier_.end()) {
    const pid_t pid = earlier->second;
    if (pid == 0 || !found || process->HolderOf(pid) != nullptr) return true;
  }
  if (!found || !process->complete) return false;
  const std::vector<SocketHolder>& holders = process->holders;
  return !holders.empty() &&
         std::all_of(holders.begin(), holders.end(), [this](const SocketHolder& one) {
           return one.uid && rules_.Trusts(*one.uid, one.cgroup_id);
         });
}

bool OwnerRecords::SeesRequestsOf(const core::Listener& listener) const {
  return sees_all_binds_ && !IsEarlier(listener);
}

core::Binder OwnerRecords::RecordOf(const core::Listener& listener,
                                    const core::PortRange& automatic) const {
  core::Listener known = listener;
  const SocketProcess* const process = holders_.Find(listener.inode);
  if (process != nullptr) {
    known.owner.pid = process->pid;
    known.owner.comm = process->comm;
  }
  core::Binder binder = core::GuessBinder(known, automatic, SeesRequestsOf(listener));
  // The record outlives the policy: of root's socket that another user has, it names that user.
  if (binder.uid == 0 && process != nullptr && !IsEarlier(listener)) {
    const std::vector<SocketHolder>& holders = process->holders;
    const auto other = std::find_if(holders.begin(), holders.end(), [](const SocketHolder& one) {
      return one.uid && *one.uid != 0;
    });
    if (other != holders.end()) {
      binder.uid = *other->uid;
      binder.cgroup_id = other->cgroup_id;
    }
  }
  // With socket activation, the process that bound it is one holder, and the owner another.
  const auto holds = [&](pid_t pid) {
    return pid == binder.pid || (process != nullptr && process->HolderOf(pid) != nullptr);
  };
  if (listener.key.protocol == core::Protocol::kUdp && SeesRequestsOf(listener)) return binder;
  // What an earlier run knew of the same process is better than a guess.
  const core::Binder* better = nullptr;
  const auto former = former_.find(KeyOf(listener));
  if (listener.binder && holds(listener.binder->pid)) {
    better = &*listener.binder;
  } else if (former != former_.end() && (binder.pid == 0 || holds(former->second.pid))) {
    better = &former->second;
  }
  if (better != nullptr) {
    binder.asked_port = better->asked_port;
    if (binder.comm.empty()) binder.comm = better->comm;
  }
  return binder;
}

std::optional<core::Binder> OwnerRecords::FormerRecordOf(const core::Listener& listener) const {
  // Its address may have been that of a listener.
  if (listener.key.protocol == core::Protocol::kUdp && SeesRequestsOf(listener)) {
    return std::nullopt;
  }
  std::optional<core::Binder> record = listener.binder;
  if (record) {
    const bool same = record->uid == listener.uid && record->cgroup_id == listener.cgroup_id;
    return same ? record : std::nullopt;
  }
  const auto former = former_.find(KeyOf(listener));
  if (former == former_.end()) return std::nullopt;
  record = former->second;
  record->uid = listener.uid;
  record->cgroup_id = listener.cgroup_id;
  return record;
}

void OwnerRecords::Keep(const absl::flat_hash_set<SocketId>& sockets) {
  absl::erase_if(earlier_, [&](const auto& entry) { return !sockets.contains(entry.first); });
}

}  // namespace npg::controller
