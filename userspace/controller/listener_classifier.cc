// SPDX-License-Identifier: Apache-2.0
#include "controller/listener_classifier.h"

#include <spdlog/spdlog.h>
#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/port.h"
#include "dataplane/bpf/bpf_guard.h"
#include "node/owners.h"
#include "node/sock_diag.h"

namespace npg::controller {
namespace {

abi::ListenerKey KeyOf(const core::Listener& listener) { return {listener.key, listener.address}; }

absl::StatusOr<std::vector<core::Listener>> ListenersOn(const core::PortEntries& ports) {
  auto found =
      node::ListListenersOn([&ports](const core::PortKey& key) { return ports.contains(key); });
  if (!found.ok()) return found.status();
  return std::move(found->listeners);
}

}  // namespace

absl::Status ListenerClassifier::LeaveUnknown(std::vector<core::Listener>& found) const {
  if (found.empty()) return absl::OkStatus();
  auto entries = guard_.Listeners();
  if (!entries.ok()) return entries.status();
  std::set<abi::ListenerKey> known;
  for (const auto& [key, value] : *entries) known.insert(key);
  std::erase_if(found,
                [&](const core::Listener& listener) { return known.contains(KeyOf(listener)); });
  return absl::OkStatus();
}

absl::Status ListenerClassifier::Add(const std::vector<core::Listener>& listeners) {
  const auto nobodys = std::count_if(listeners.begin(), listeners.end(),
                                     [](const auto& listener) { return listener.owner.pid == 0; });
  if (nobodys > 0 && policy_.IgnoresByDefault()) {
    spdlog::warn(
        "found no owner of {} listeners on NodePorts, so --only-process leaves them unguarded: "
        "the controller may not read their /proc, or runs in another pid namespace",
        nobodys);
  }
  return guard_.AddListeners(listeners, policy_);
}

absl::Status ListenerClassifier::Enter(const core::PortEntries& ports) {
  absl::StatusOr<std::vector<core::Listener>> found = ListenersOn(ports);
  if (!found.ok()) return found.status();
  NPG_RETURN_IF_ERROR(LeaveUnknown(*found));
  // Search /proc only for unknown owners.
  node::FillOwners(*found);
  return Add(*found);
}

absl::Status ListenerClassifier::EnterAll(const core::PortEntries& ports) {
  absl::StatusOr<std::vector<core::Listener>> found = node::ListListeners();
  if (!found.ok()) return found.status();
  NPG_RETURN_IF_ERROR(LeaveUnknown(*found));
  node::FillOwners(*found);
  std::erase_if(*found, [&](const core::Listener& listener) {
    const bool special = listener.owner.pid != 0 &&
                         policy_.Ignores(listener.owner.comm) != policy_.IgnoresByDefault();
    return !special && !ports.contains(listener.key);
  });
  return Add(*found);
}

std::vector<core::Listener> ListenerClassifier::FindChanged(
    const std::map<abi::ListenerKey, Noted>& noted) {
  // Read each process once, however many sockets it has.
  std::map<pid_t, absl::flat_hash_set<uint64_t>> inodes;
  for (const auto& [key, entry] : noted) {
    for (const core::Listener& socket : entry.sockets) inodes[entry.pid()].insert(socket.inode);
  }
  std::map<pid_t, node::Holding> holdings;
  for (const auto& [pid, wanted] : inodes) {
    // Pid 1 holds sockets for others (socket activation).
    if (pid <= 1) continue;
    if (auto holding = node::LookAt(pid, wanted)) holdings[pid] = *std::move(holding);
  }
  std::vector<core::Listener> changed;
  std::vector<core::Listener> doubtful;
  for (const auto& [key, entry] : noted) {
    const auto holding = holdings.find(entry.pid());
    const auto held =
        std::find_if(entry.sockets.begin(), entry.sockets.end(), [&](const core::Listener& socket) {
          return holding != holdings.end() && holding->second.inodes.contains(socket.inode);
        });
    if (held == entry.sockets.end()) {
      if (!in_vain_.contains(entry.sockets.front().inode)) {
        doubtful.push_back(entry.sockets.front());
      }
    } else if (holding->second.owner.comm != entry.value.comm) {
      // A thread with another name bound it, or the process was renamed since.
      changed.push_back(*held);
      changed.back().owner = holding->second.owner;
    }
  }
  node::FillOwners(doubtful);
  for (core::Listener& listener : doubtful) {
    if (listener.owner.pid == 0) {
      in_vain_.insert(listener.inode);
    } else {
      changed.push_back(std::move(listener));
    }
  }
  return changed;
}

absl::Status ListenerClassifier::Refresh(const core::PortEntries& ports) {
  // A walk over /proc that found no owner will hardly find one a minute later.
  constexpr int kRoundsInVain = 10;
  if (++refreshes_ % kRoundsInVain == 0) in_vain_.clear();
  auto entries = guard_.Listeners();
  if (!entries.ok()) return entries.status();
  auto found = ListenersOn(ports);
  if (!found.ok()) return found.status();
  // Sockets of one address (SO_REUSEPORT) have one entry.
  std::map<abi::ListenerKey, std::vector<core::Listener>> sockets;
  for (core::Listener& listener : *found) {
    if (listener.inode == 0) continue;
    sockets[KeyOf(listener)].push_back(std::move(listener));
  }
  std::map<abi::ListenerKey, Noted> noted;
  for (const auto& [key, value] : *entries) {
    const auto group = sockets.find(key);
    if (group == sockets.end()) continue;
    noted[key] = {value, std::move(group->second)};
  }
  for (const core::Listener& listener : FindChanged(noted)) {
    const abi::ListenerKey key = KeyOf(listener);
    const Noted& entry = noted[key];
    if (listener.owner.pid == entry.pid() && listener.owner.comm == entry.value.comm) {
      continue;
    }
    NPG_RETURN_IF_ERROR(guard_.CorrectListener(key, entry.value, listener, policy_));
  }
  return absl::OkStatus();
}

absl::Status ListenerClassifier::Prune() {
  // The entries first: the list then includes a socket that is bound in between.
  auto entries = guard_.Listeners();
  if (!entries.ok()) return entries.status();
  absl::StatusOr<std::vector<core::Listener>> found = node::ListListeners();
  if (!found.ok()) return found.status();
  std::set<abi::ListenerKey> live;
  for (const core::Listener& listener : *found) live.insert(KeyOf(listener));
  std::map<abi::ListenerKey, abi::Listener> absent;
  for (const auto& [key, value] : *entries) {
    if (live.contains(key)) continue;
    const auto before = absent_.find(key);
    if (before != absent_.end() && before->second == value) {
      NPG_RETURN_IF_ERROR(guard_.RemoveListener(key));
    } else {
      absent[key] = value;
    }
  }
  absent_ = std::move(absent);
  return absl::OkStatus();
}

}  // namespace npg::controller
