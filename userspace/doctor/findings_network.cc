// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/mark.h"
#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/findings.h"
#include "doctor/listed.h"
#include "node/mark_use.h"
#include "node/socket_lb.h"
#include "node/untracked_obstacles.h"

namespace npg::doctor {
namespace {

std::string FreeMarkFix(const std::vector<node::MarkUse>& uses) {
  const std::optional<uint32_t> free = FreeMark(uses);
  if (!free) {
    return "no bit is free on this node: change the mark of one of these rules";
  }
  const std::string bits = core::HexText(*free);
  return absl::StrCat("nodeport-guard run --mark ", bits, " --mark-mask ", bits,
                      " (no rule that was seen uses it); it reads NODEPORT_GUARD_MARK=", bits,
                      " and NODEPORT_GUARD_MARK_MASK=", bits, ", too");
}

}  // namespace

std::vector<Finding> JudgeMarks(const Facts& facts) {
  std::vector<Finding> findings;
  for (const node::MarkUse& use : facts.rules.marks) {
    if (!node::Collides(use, facts.mark)) continue;
    findings.push_back({FindingId::kMarkCollision, Severity::kWarn,
                        absl::StrCat("the guard's mark ", core::ToString(facts.mark), " is ",
                                     use.kind == node::MarkUse::Kind::kSet ? "set" : "looked at",
                                     " by others: ", use.where, ": ", use.rule),
                        FreeMarkFix(facts.rules.marks)});
  }
  if (!findings.empty()) return findings;
  std::vector<std::string> lookups;
  for (const node::MarkUse& use : facts.rules.marks) {
    if (use.kind == node::MarkUse::Kind::kLookup && (use.mask & facts.mark.mask) != 0) {
      lookups.push_back(absl::StrCat(use.where, ": ", use.rule));
    }
  }
  if (!lookups.empty()) {
    return {{FindingId::kMarkCollision, Severity::kNote,
             absl::StrCat("these rules look the mark up among values that were not read: ",
                          Listed(lookups, "; ")),
             absl::StrCat("see whether one of the values has the bit ",
                          core::HexText(facts.mark.value), ": nft -a list ruleset")}};
  }
  return {{FindingId::kMarkCollision, Severity::kOk,
           absl::StrCat("no rule that was seen uses the mark ", core::ToString(facts.mark)), ""}};
}

namespace {

Finding JudgeUntrusted(const PortFacts& ports) {
  if (ports.untrusted.empty()) {
    return {FindingId::kListenerUntrusted, Severity::kOk,
            "no listener on a NodePort is of a user that is not trusted", ""};
  }
  return {FindingId::kListenerUntrusted, Severity::kNote,
          absl::StrCat(
              "the node's connects to the NodePorts of ", ports.untrusted.size(),
              ports.untrusted.size() == 1 ? " listener" : " listeners",
              " go to the Service, since its user is not trusted: ", Listed(ports.untrusted, ", ")),
          "nothing, unless the node's connects should reach them: nodeport-guard run with the "
          "flag in parentheses"};
}

// A note: one look cannot tell a busy server from a process that never accepts.
Finding JudgeNotAccepting(const PortFacts& ports) {
  const size_t count = ports.not_accepting.size();
  if (count == 0) {
    return {FindingId::kListenerNotAccepting, Severity::kOk,
            "no guarded listener on a NodePort has a long accept queue", ""};
  }
  return {FindingId::kListenerNotAccepting, Severity::kNote,
          absl::StrCat("connections wait to be accepted by ", count,
                       count == 1 ? " listener" : " listeners",
                       " on a NodePort: ", Listed(ports.not_accepting, "; ")),
          "the log of nodeport-guard run names each listener for which they wait longer than a "
          "minute (event not_accepting); if the process never accepts, change the flags of "
          "nodeport-guard run as in parentheses"};
}

std::string FixOfConflicts(const Facts& facts) {
  if (facts.cilium_socket_lb || (facts.programs.ok() && node::HasCiliumConnect(*facts.programs))) {
    return "another port for the listener or for the Service: Cilium's socket load balancer takes "
           "these connects before the guard (cilium-socket-lb)";
  }
  if (facts.ports.not_looked_up == facts.ports.listeners.size()) {
    return "another port for the listener or for the Service: no guard sees a TCP listener that is "
           "bound to a device";
  }
  return facts.guard.state == GuardFacts::State::kLoaded
             ? "nodeport-guard status shows how they fare"
             : "nodeport-guard run";
}

Finding JudgeSources(const PortFacts& ports) {
  std::vector<std::string> broken = ports.source_errors;
  broken.insert(broken.end(), ports.unseen.begin(), ports.unseen.end());
  const bool incomplete = !broken.empty();
  broken.insert(broken.end(), ports.skipped.begin(), ports.skipped.end());
  if (broken.empty()) {
    return {FindingId::kSource, Severity::kOk,
            absl::StrCat(ports.allocated.size(), " NodePorts are known"), ""};
  }
  return {
      FindingId::kSource, incomplete ? Severity::kWarn : Severity::kNote,
      absl::StrCat(incomplete ? "not all NodePorts are known, so conflicts can be missing here: "
                              : "not all could be read: ",
                   Listed(broken, "; ")),
      ports.unseen.empty()
          ? "nodeport-guard scan with the same --source flags repeats it"
          : "nodeport-guard doctor --kubeconfig FILE, and the same for run; nodeport-guard scan "
            "with the same flags exits with 5 while it cannot tell"};
}

}  // namespace

std::vector<Finding> JudgeRules(const Facts& facts) {
  std::vector<Finding> findings;
  for (const std::string& line : facts.evaluated.unknown) {
    findings.push_back({FindingId::kRules, Severity::kWarn, line,
                        "if the rule takes ports from listeners of this node: --source file with a "
                        "--nodeports-file that lists them"});
  }
  for (const std::string& line : facts.evaluated.broad) {
    findings.push_back({FindingId::kRules, Severity::kNote,
                        absl::StrCat(line,
                                     ", which are not guarded, since the rule is not about "
                                     "particular ports"),
                        ""});
  }
  if (findings.empty()) {
    findings.push_back(
        {FindingId::kRules, Severity::kOk,
         absl::StrCat(facts.evaluated.all ? "all rules" : "the rules that were read and",
                      " that a connect of the node meets were evaluated (", facts.evaluated.count,
                      ")"),
         ""});
  }
  return findings;
}

std::vector<Finding> JudgeUntracked(const Facts& facts) {
  std::vector<Finding> findings;
  if (!facts.obstacles.ok()) return findings;  // reported as not-seen
  using Kind = node::UntrackedObstacle::Kind;
  for (const auto& [kind, id, good] :
       {std::tuple{Kind::kTracks, FindingId::kRulesTrackAgain,
                   "no rule that was seen sets a conntrack zone for packets of lo"},
        std::tuple{Kind::kDrops, FindingId::kRulesDropUntracked,
                   "no firewall that was seen drops packets of lo for being untracked"}}) {
    bool found = false;
    for (const node::UntrackedObstacle& obstacle : *facts.obstacles) {
      if (obstacle.kind != kind) continue;
      found = true;
      findings.push_back({id, obstacle.certain ? Severity::kWarn : Severity::kNote,
                          node::ToString(obstacle), obstacle.fix});
    }
    if (!found) findings.push_back({id, Severity::kOk, good, ""});
  }
  return findings;
}

std::vector<Finding> JudgePorts(const Facts& facts) {
  const PortFacts& ports = facts.ports;
  std::vector<Finding> findings;
  if (ports.listeners.empty()) {
    findings.push_back({FindingId::kListenerConflict, Severity::kOk,
                        "no process listens on a NodePort that the sources know", ""});
  } else {
    const bool guarded = facts.guard.state == GuardFacts::State::kLoaded;
    findings.push_back(
        {FindingId::kListenerConflict, guarded ? Severity::kNote : Severity::kWarn,
         absl::StrCat(ports.listeners.size(),
                      ports.listeners.size() == 1 ? " listener has" : " listeners have",
                      " the port of a NodePort: ", Listed(ports.listeners, ", ")),
         FixOfConflicts(facts)});
  }
  findings.push_back(JudgeUntrusted(ports));
  findings.push_back(JudgeNotAccepting(ports));
  findings.push_back(JudgeSources(ports));
  return findings;
}

}  // namespace npg::doctor
