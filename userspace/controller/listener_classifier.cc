// SPDX-License-Identifier: Apache-2.0
#include "controller/listener_classifier.h"

#include <sys/types.h>
#include <cstdint>

#include <iterator>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "dataplane/bpf_guard.h"
#include "guard_abi.h"
#include "listeners/owners.h"
#include "listeners/sock_diag.h"

namespace npg::controller {
namespace {

template <typename Address>
std::tuple<std::string, uint16_t, uint8_t> MakeId(const Address& address, uint16_t port,
                                                  uint8_t protocol) {
  return {std::string(std::begin(address), std::end(address)), port, protocol};
}

auto IdOf(const core::Listener& listener) {
  return MakeId(listener.address, listener.key.port, static_cast<uint8_t>(listener.key.protocol));
}

auto IdOf(const npg_listener_key& key) { return MakeId(key.address, key.port, key.protocol); }

// True when the process that an entry names holds one of the sockets for itself.
bool StillHeld(const std::vector<core::Listener>& sockets, uint32_t pid) {
  constexpr uint32_t kInit = 1;
  if (pid == 0 || pid == kInit) return false;
  std::vector<uint64_t> inodes;
  inodes.reserve(sockets.size());
  for (const core::Listener& socket : sockets) inodes.push_back(socket.inode);
  return listeners::HoldsAny(static_cast<pid_t>(pid), inodes);
}

}  // namespace

absl::Status ListenerClassifier::Enter(const core::PortEntries& ports) {
  absl::StatusOr<std::vector<core::Listener>> found = listeners::ListListeners();
  if (!found.ok()) return found.status();
  std::erase_if(*found,
                [&](const core::Listener& listener) { return !ports.contains(listener.key); });
  if (found->empty()) return absl::OkStatus();
  auto entries = guard_.Listeners();
  if (!entries.ok()) return entries.status();
  std::set<Id> known;
  for (const auto& [key, value] : *entries) known.insert(IdOf(key));
  // What is known already need not be looked for in /proc.
  std::erase_if(*found,
                [&](const core::Listener& listener) { return known.contains(IdOf(listener)); });
  listeners::FillOwners(*found);
  return guard_.AddListeners(*found, policy_);
}

absl::Status ListenerClassifier::Refresh(const core::PortEntries& ports) {
  auto entries = guard_.Listeners();
  if (!entries.ok()) return entries.status();
  absl::StatusOr<std::vector<core::Listener>> found = listeners::ListListeners();
  if (!found.ok()) return found.status();
  // Sockets of one address (SO_REUSEPORT) have one entry.
  std::map<Id, std::vector<core::Listener>> sockets;
  for (core::Listener& listener : *found) {
    if (!ports.contains(listener.key) || listener.inode == 0) continue;
    Id id = IdOf(listener);
    sockets[std::move(id)].push_back(std::move(listener));
  }
  std::vector<core::Listener> doubtful;
  std::map<Id, const std::pair<npg_listener_key, npg_listener>*> noted;
  for (const auto& entry : *entries) {
    const auto group = sockets.find(IdOf(entry.first));
    if (group == sockets.end() || StillHeld(group->second, entry.second.pid)) continue;
    doubtful.push_back(group->second.front());
    noted[group->first] = &entry;
  }
  listeners::FillOwners(doubtful);
  for (const core::Listener& listener : doubtful) {
    const auto& [key, value] = *noted[IdOf(listener)];
    if (listener.owner.pid == 0 || listener.owner.pid == static_cast<pid_t>(value.pid)) continue;
    NPG_RETURN_IF_ERROR(guard_.CorrectListener(key, value, listener, policy_));
  }
  return absl::OkStatus();
}

absl::Status ListenerClassifier::Prune() {
  // The entries first: a socket that is bound in between is in the list, too.
  auto entries = guard_.Listeners();
  if (!entries.ok()) return entries.status();
  absl::StatusOr<std::vector<core::Listener>> found = listeners::ListListeners();
  if (!found.ok()) return found.status();
  std::set<Id> live;
  for (const core::Listener& listener : *found) live.insert(IdOf(listener));
  std::set<Id> absent;
  for (const auto& [key, value] : *entries) {
    Id id = IdOf(key);
    if (live.contains(id)) continue;
    if (absent_.contains(id)) {
      NPG_RETURN_IF_ERROR(guard_.RemoveListener(key));
    } else {
      absent.insert(std::move(id));
    }
  }
  absent_ = std::move(absent);
  return absl::OkStatus();
}

}  // namespace npg::controller
