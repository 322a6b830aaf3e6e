// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_STATUS_H_
#define NODEPORT_GUARD_INSPECT_STATUS_H_

#include <array>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/conflicts.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
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

// One of a guard that is loaded.
struct GuardedConflict : Conflict {
  ConflictState state = ConflictState::kUnguarded;
};

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
