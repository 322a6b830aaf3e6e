// SPDX-License-Identifier: Apache-2.0
#include "inspect/status.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/container/btree_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/printable.h"
#include "base/text.h"
#include "core/accept_queue.h"
#include "core/conflicts.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/guard_state.h"
#include "inspect/coverage.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/protection.h"
#include "inspect/text.h"

namespace npg::inspect {
namespace {

// The remedy for a broken part.
std::string Repair(const GuardFacts& facts) {
  return facts.controller == 0 ? "repair it with 'nodeport-guard run'"
                               : "if it stays like that, restart the controller";
}

std::vector<std::string> SourceNotes(const GuardFacts& facts) {
  std::vector<std::string> notes;
  if (facts.controller == 0) return notes;
  for (const auto& [source, state] : facts.sources) {
    if (state.connected) continue;
    notes.push_back(absl::StrCat(
        "source ", abi::Name(source), " is not connected since ", base::UtcTime(state.since), " (",
        base::Printable(WhyNotConnected(state)), "); its last known ports stay guarded"));
  }
  const std::vector<std::string> unseen = JudgeCoverage(facts).notes;
  notes.insert(notes.end(), unseen.begin(), unseen.end());
  return notes;
}

// The guard was loaded by a build with an earlier layout of the pins.
std::optional<std::string> VersionNote(const GuardFacts& facts) {
  if (facts.config.abi_version == 0 || facts.config.abi_version == abi::kVersion) {
    return std::nullopt;
  }
  const bool lacks = !facts.lacks.empty();
  return absl::StrCat(
      "the guard was loaded by version ",
      facts.config.version.empty() ? "unknown" : base::Printable(facts.config.version),
      " with ABI version ", facts.config.abi_version, ", this program has ", abi::kVersion,
      lacks ? "; that one does not have " : "", absl::StrJoin(facts.lacks, ", "),
      lacks ? ", shown as 0 or empty" : "", "; 'nodeport-guard run' of this version takes it over");
}

// What connects to a listener do, if its process never accepts.
absl::string_view HangText(ConflictState state) {
  switch (state) {
    case ConflictState::kExempted:
      return "hang";
    case ConflictState::kObserved:
      return "will hang with --mode enforce";
    case ConflictState::kUnguarded:
      return "will hang once the guard exempts them";
    case ConflictState::kIgnored:
    case ConflictState::kUntrusted:
      break;
  }
  return "go to the Service";
}

// Connects to a listener do not end in its queue where its owner is ignored or not trusted, where
// the guard does not see it, and beside Cilium's socket load balancer.
void AddQueueNotes(const Status& status, std::vector<std::string>& notes) {
  if (status.facts.cilium_socket_lb) return;
  const core::OwnerRules rules = Rules(status.facts);
  for (const auto& group : GroupConflicts(status.conflicts)) {
    const GuardedConflict& conflict = *group.conflict;
    if (conflict.owner_verdict != core::OwnerVerdict::kGuarded ||
        !core::IsLookedUp(conflict.listener) || !core::HasLongAcceptQueue(conflict.listener)) {
      continue;
    }
    notes.push_back(absl::StrCat(core::ToString(conflict.key), ": ",
                                 OwnerText(conflict.owner, UidOf(conflict.listener)), " on ",
                                 core::AddressText(conflict.listener.address), ": ",
                                 LongQueueText(rules, conflict.listener, conflict.state)));
  }
}

std::vector<std::string> Notes(const Status& status) {
  std::vector<std::string> notes = SourceNotes(status.facts);
  if (std::optional<std::string> note = VersionNote(status.facts)) {
    notes.insert(notes.begin(), *std::move(note));
  }
  size_t unknown = 0;
  size_t no_process = 0;
  for (const Conflict& conflict : status.conflicts) {
    const core::Owner& owner = conflict.listener.owner;
    if (owner.pid == 0) ++(owner.no_process ? no_process : unknown);
  }
  if (no_process > 0) notes.push_back(NoProcessText(no_process));
  if (status.facts.cilium_socket_lb) notes.push_back(CiliumText());
  if (unknown > 0) notes.push_back(UnknownOwnersText(unknown, status.facts.gaps));
  for (const auto& group : GroupConflicts(status.conflicts)) {
    const GuardedConflict& conflict = *group.conflict;
    if (conflict.state == ConflictState::kUnguarded && !core::IsLookedUp(conflict.listener)) {
      notes.push_back(absl::StrCat(core::ToString(conflict.key), " ", AddressOf(group), " ",
                                   NotLookedUpText()));
    }
    if (conflict.state != ConflictState::kUntrusted) continue;
    notes.push_back(
        absl::StrCat(core::ToString(conflict.key), ": ", UntrustedText(conflict.listener),
                     ", so connects go to the Service; ", RemedyOfUntrusted(conflict.listener)));
  }
  AddQueueNotes(status, notes);
  const std::vector<std::string> protection = ProtectionNotes(status.facts, status.bound);
  notes.insert(notes.end(), protection.begin(), protection.end());
  return notes;
}

ConflictState StateOf(const core::Conflict& conflict, const GuardFacts& facts) {
  if (conflict.owner_verdict == core::OwnerVerdict::kIgnored) return ConflictState::kIgnored;
  if (conflict.owner_verdict == core::OwnerVerdict::kUntrusted) return ConflictState::kUntrusted;
  if (facts.config.mode == abi::Mode::kObserve) return ConflictState::kObserved;
  return CanExempt(facts, conflict.listener) ? ConflictState::kExempted : ConflictState::kUnguarded;
}

std::vector<GuardedConflict> Conflicts(const GuardFacts& facts) {
  // In another network namespace, the listeners here are not the guarded ones.
  if (facts.same_netns == false) return {};
  // Few of the NodePorts have listeners.
  core::PortEntries ports;
  for (const core::Listener& listener : facts.listeners) {
    const abi::NodePort* const nodeport = FindNodePort(facts, listener.key);
    if (nodeport != nullptr) ports[listener.key] = {nodeport->sources, nodeport->service};
  }
  const core::OwnerRules rules = Rules(facts);
  std::vector<GuardedConflict> conflicts;
  for (core::Conflict& found : core::FindConflicts(
           ports, facts.listeners, facts.own, Histories(facts, ports),
           [&rules](const core::Listener& listener) { return rules.Judge(listener); })) {
    GuardedConflict conflict{{std::move(found), {}}, ConflictState::kUnguarded};
    conflict.owner = NameOf(conflict.listener);
    conflict.state = StateOf(conflict, facts);
    conflicts.push_back(std::move(conflict));
  }
  return conflicts;
}

}  // namespace

std::string GroupAddressText(const core::Listener& listener, size_t listeners) {
  return absl::StrCat(core::AddressText(listener.address),
                      listeners > 1 ? absl::StrCat(" (", listeners, " sockets)") : "");
}

absl::string_view Name(ConflictState state) {
  switch (state) {
    case ConflictState::kExempted:
      return "exempted";
    case ConflictState::kObserved:
      return "observed";
    case ConflictState::kIgnored:
      return "ignored";
    case ConflictState::kUntrusted:
      return "untrusted";
    case ConflictState::kUnguarded:
      break;
  }
  return "unguarded";
}

std::vector<std::string> Problems(const GuardFacts& facts) {
  std::vector<std::string> problems;
  for (const char* program : dataplane::LinkNames(facts.config.abi_version)) {
    if (const std::optional<std::string> problem = ProgramProblem(facts, program)) {
      problems.push_back(absl::StrCat(*problem, "; ", Repair(facts)));
    }
  }
  if (const absl::btree_set<std::string> cgroups = Cgroups(facts); cgroups.size() > 1) {
    problems.push_back(absl::StrCat("programs are attached to different cgroups (",
                                    absl::StrJoin(cgroups, ", "), "); ", Repair(facts)));
  }
  if (facts.same_netns == false) {
    problems.emplace_back(
        "this command runs in another network namespace than the guard, and sees neither the "
        "listeners nor the nft table there; on a node, put 'nsenter --net=/proc/1/ns/net' "
        "before it");
  } else if (const std::optional<std::string> problem = TableProblem(facts)) {
    problems.push_back(absl::StrCat(*problem, "; ", Repair(facts)));
  }
  return problems;
}

Status MakeStatus(GuardFacts facts) {
  Status status;
  status.facts = std::move(facts);
  status.problems = Problems(status.facts);
  if (std::optional<std::string> aside = AsideProblem(status.facts)) {
    status.problems.push_back(*std::move(aside));
  }
  if (std::optional<std::string> unreserved = ReserveProblem(status.facts)) {
    status.problems.push_back(*std::move(unreserved));
  }
  status.conflicts = Conflicts(status.facts);
  status.refusable = status.facts.refusable.size();
  status.bound = BoundPorts(status.facts);
  status.notes = Notes(status);
  status.nodeports = CountNodePorts(status.facts);
  status.maps = Maps(status.facts);
  // Assigning {} would clear them and keep their memory.
  GuardFacts& rest = status.facts;
  std::exchange(rest.nodeports, {});
  std::exchange(rest.stats, {});
  std::exchange(rest.bind_stats, {});
  std::exchange(rest.refusable, {});
  std::exchange(rest.first_holders, {});
  std::exchange(rest.listeners, {});
  return status;
}

// One look shows that connections wait, and not whether the process will accept them.
std::string LongQueueText(const core::OwnerRules& rules, const core::Listener& listener,
                          ConflictState state) {
  return absl::StrCat(core::AcceptQueueText(listener),
                      "; if its process never accepts them, connects to it ", HangText(state), ": ",
                      core::HowToIgnore(listener, rules.policy));
}

}  // namespace npg::inspect
