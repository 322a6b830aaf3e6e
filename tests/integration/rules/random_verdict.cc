// SPDX-License-Identifier: Apache-2.0
#include "integration/rules/random_verdict.h"

#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "core/port.h"
#include "integration/rules/random_connects.h"
#include "integration/rules/random_rules.h"
#include "rules/evaluator.h"
#include "rules/rule.h"

namespace npg::rules::random_rules {
namespace {

bool IsHost(const Fate& fate) { return fate.arrived && !fate.redirected; }
bool IsRefused(const Fate& fate) { return !fate.arrived && !fate.redirected; }

absl::string_view NameOf(Answer answer) {
  switch (answer) {
    case Answer::kHost:
      return "host";
    case Answer::kRedirected:
      return "redirected";
    case Answer::kRefused:
      return "refused when tracked";
    case Answer::kFirewall:
      return "refused by a firewall";
    case Answer::kEither:
      return "either";
  }
  return "";
}

Answer AnswerOf(Outcome outcome) {
  switch (outcome) {
    case Outcome::kHost:
      return Answer::kHost;
    case Outcome::kRedirected:
      return Answer::kRedirected;
    case Outcome::kRefused:
      return Answer::kRefused;
    case Outcome::kFirewall:
      return Answer::kFirewall;
    case Outcome::kUnknown:
      return Answer::kEither;
  }
  return Answer::kEither;
}

bool IsTaking(Answer answer) { return answer == Answer::kRedirected || answer == Answer::kRefused; }

// Random conditions: which of several ends a number of connects meets is chance. What cannot be
// evaluated may decide in which of two ways a port is taken.
bool IsSame(Spice spice, Answer kernel, Answer claimed) {
  if (spice == Spice::kUnknown && IsTaking(kernel) && IsTaking(claimed)) return true;
  return spice == Spice::kChance ? IsTaking(kernel) == IsTaking(claimed) : kernel == claimed;
}

bool HasNamedRefusal(const Claim& claim) {
  return absl::c_any_of(claim.trace.steps, [](const TraceStep& step) {
    return step.names_port && (step.verdict == "DROP" || step.verdict == "REJECT");
  });
}

// The evaluation may leave a port out that is taken by a rule about many ports, or by a policy.
bool MayBeLeftOut(const Claim& claim) {
  const std::vector<TraceStep>& steps = claim.trace.steps;
  if (!steps.empty() && steps.back().rule == 0) return true;
  // A refusal counts only by a rule that names few ports.
  if (claim.trace.outcome == Outcome::kRefused) return !HasNamedRefusal(claim);
  return absl::c_any_of(steps, [&claim](const TraceStep& step) {
    return absl::c_any_of(claim.evaluation.broad, [&step](const std::string& line) {
      return absl::StartsWith(line, ToString(step.chain));
    });
  });
}

std::string OpenFault(Spice spice, Answer kernel, const Claim& claim) {
  if (spice != Spice::kUnknown) return "unknown, but every condition can be evaluated";
  if (claim.trace.unknown.empty()) return "unknown, but no rule is named";
  // Whether a firewall refuses the connect does not concern the evaluation.
  const bool may_be_firewall = !IsTaking(kernel) || !HasNamedRefusal(claim);
  if (claim.evaluation.unknown.empty() && !may_be_firewall) {
    return "unknown, but the evaluation names no rule";
  }
  return "";
}

void Count(Answer answer, Tally& tally) {
  tally.redirected += answer == Answer::kRedirected ? 1 : 0;
  tally.refused += answer == Answer::kRefused ? 1 : 0;
  tally.firewall += answer == Answer::kFirewall ? 1 : 0;
}

// For a claim that is not open.
std::string Fault(const Target& target, Spice spice, Answer kernel, const Claim& claim,
                  Tally& tally) {
  const Answer claimed = AnswerOf(claim.trace.outcome);
  const bool taken = claim.evaluation.taken.contains({target.port, target.protocol});
  if (!IsSame(spice, kernel, claimed)) return absl::StrCat("the trace has: ", NameOf(claimed));
  if (taken && !IsTaking(claimed)) return "the evaluation has it taken, the trace has not";
  if (!taken && IsTaking(claimed)) {
    if (!MayBeLeftOut(claim)) return "the trace has it taken, the evaluation has not";
    ++tally.broad;
  }
  Count(kernel, tally);
  return "";
}

}  // namespace

std::string ToText(const Tally& tally) {
  return absl::StrCat(
      tally.rule_sets, " rule sets, ", tally.connects, " connects: ", tally.redirected,
      " redirected, ", tally.refused, " refused when tracked, ", tally.firewall,
      " refused by a firewall, ", tally.open, " open (",
      tally.connects == 0 ? 0 : 100 * tally.open / tally.connects, " %), ", tally.broad,
      " taken but not by port, ", tally.sometimes, " sometimes, ", tally.skipped, " skipped");
}

std::string ToText(const Trace& trace) {
  const auto step_text = [](std::string* out, const TraceStep& step) {
    absl::StrAppend(out, "    ", step.input ? "input " : "output ", ToString(step.chain), " rule ",
                    step.rule, step.sometimes ? " sometimes: " : ": ", step.verdict);
  };
  return absl::StrCat("    outcome: ", NameOf(AnswerOf(trace.outcome)), " ", trace.destination,
                      trace.unknown, trace.sometimes ? " sometimes" : "", "\n",
                      absl::StrJoin(trace.steps, "\n", step_text));
}

Answer AnswerOf(const Fates& fates) {
  const auto any = [](const std::vector<Fate>& of, bool (*is)(const Fate&)) {
    return absl::c_any_of(of, is);
  };
  if (any(fates.tracked, [](const Fate& fate) { return fate.redirected; })) {
    return Answer::kRedirected;
  }
  if (!any(fates.tracked, IsRefused)) return Answer::kHost;
  // Refused at another address of the node: by what it met there, or met at first?
  if (any(fates.tracked, [](const Fate& fate) { return fate.readdressed; })) return Answer::kEither;
  if (!any(fates.untracked, IsRefused)) return Answer::kRefused;
  const bool more_often = any(fates.untracked, IsHost) && !any(fates.tracked, IsHost);
  return more_often ? Answer::kEither : Answer::kFirewall;
}

std::string Disagreement(const Target& target, Spice spice, const Fates& fates, const Claim& claim,
                         Tally& tally) {
  Tally added = tally;
  ++added.connects;
  const Answer kernel = AnswerOf(fates);
  std::string fault;
  if (claim.trace.outcome == Outcome::kUnknown) {
    fault = OpenFault(spice, kernel, claim);
    ++added.open;
  } else if (kernel == Answer::kEither) {
    ++added.skipped;
  } else {
    fault = Fault(target, spice, kernel, claim, added);
    const bool varies = IsTaking(kernel) && absl::c_any_of(fates.tracked, IsHost);
    if (varies) ++added.sometimes;
    if (fault.empty() && varies && !claim.trace.sometimes) fault = "the trace has it always taken";
  }
  if (fault.empty()) {
    tally = added;
    return "";
  }
  return absl::StrCat(ToText(target), ": the kernel's answer is: ", NameOf(kernel), "; ", fault,
                      "\n", ToText(claim.trace),
                      "\n    unknown: ", absl::StrJoin(claim.evaluation.unknown, "; "),
                      "\n    broad: ", absl::StrJoin(claim.evaluation.broad, "; "), "\n");
}

}  // namespace npg::rules::random_rules
