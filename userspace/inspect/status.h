// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_STATUS_H_
#define NODEPORT_GUARD_INSPECT_STATUS_H_

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/conflicts.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/protection.h"
#include "inspect/text.h"

// The evaluation of the facts, once for all that shows it.

namespace npg::inspect {

// What happens to a connect to the listener of a conflict.
enum class ConflictState {
  kExempted,
  kObserved,   // mode observe: counted, and left to the Service
  kIgnored,    // its owner is ignored
  kUntrusted,  // the administrator does not answer for its owner
  kUnguarded,  // a part of the guard that a connect needs is missing, or it stands aside
};
inline constexpr std::array kConflictStates = {ConflictState::kExempted, ConflictState::kObserved,
                                               ConflictState::kIgnored, ConflictState::kUntrusted,
                                               ConflictState::kUnguarded};
// "exempted", ...: the label of metrics.
absl::string_view Name(ConflictState state);

struct Conflict : core::Conflict {
  OwnerName owner;
};

// "127.0.0.1", "127.0.0.1 (64 sockets)".
std::string GroupAddressText(const core::Listener& listener, size_t listeners);

// One of a guard that is loaded.
struct GuardedConflict : Conflict {
  ConflictState state = ConflictState::kUnguarded;
};

// Conflicts of sockets with one address, port, owner and verdict (SO_REUSEPORT), shown as one.
template <typename C>
struct ConflictGroup {
  const C* conflict = nullptr;  // the one with the longest accept queue, else the first of them
  size_t listeners = 0;
};

// `conflicts` are sorted as core::FindConflicts() does it, and outlive the groups, which keep
// their order.
template <typename C>
std::vector<ConflictGroup<C>> GroupConflicts(const std::vector<C>& conflicts) {
  std::vector<ConflictGroup<C>> groups;
  for (const C& conflict : conflicts) {
    ConflictGroup<C>* same = nullptr;
    for (auto it = groups.rbegin(); it != groups.rend() && same == nullptr; ++it) {
      const C& other = *it->conflict;
      if (other.key != conflict.key || other.listener.address != conflict.listener.address) break;
      if (other.owner == conflict.owner && UidOf(other.listener) == UidOf(conflict.listener) &&
          other.owner_verdict == conflict.owner_verdict &&
          other.listener.ifindex == conflict.listener.ifindex) {
        same = &*it;
      }
    }
    if (same != nullptr) {
      ++same->listeners;
      if (conflict.listener.accept_queue > same->conflict->listener.accept_queue) {
        same->conflict = &conflict;
      }
    } else {
      groups.push_back({&conflict, 1});
    }
  }
  return groups;
}

// "127.0.0.1"; "127.0.0.1 (64 sockets)" for several.
template <typename C>
std::string AddressOf(const ConflictGroup<C>& group) {
  return GroupAddressText(group.conflict->listener, group.listeners);
}

// The guard and its node at facts.now.
struct Status {
  // Without the entries of maps and without listeners, to save memory: the members below are
  // computed from them.
  GuardFacts facts;
  NodePortCounts nodeports;
  std::array<MapFill, 5> maps{};
  // The broken parts, one line each with a remedy; empty when the guard works.
  std::vector<std::string> problems;
  // Empty if the listeners of the guarded network namespace are not visible; see `problems`.
  std::vector<GuardedConflict> conflicts;
  size_t refusable = 0;          // NodePorts whose bind may be refused or reported
  std::vector<BoundPort> bound;  // the latest first
  // Limitations that are not faults, one line each.
  std::vector<std::string> notes;

  bool healthy() const { return problems.empty(); }
};

// The problems of a status alone.
std::vector<std::string> Problems(const GuardFacts& facts);

Status MakeStatus(GuardFacts facts);

// Of a listener of a trusted owner that is not ignored, with a long accept queue: "12 connections
// wait to be accepted (backlog 4096); if its process never accepts them, connects to it hang: run
// with --ignore-process +agent". `state` is that of its conflict.
std::string LongQueueText(const core::OwnerRules& rules, const core::Listener& listener,
                          ConflictState state);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_STATUS_H_
