// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_VERDICT_H_
#define NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_VERDICT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "integration/rules/random_connects.h"
#include "integration/rules/random_rules.h"
#include "rules/evaluator.h"

// The kernel's answers beside those of the evaluator.

namespace npg::rules::random_rules {

// Of connects that have been compared.
struct Tally {
  size_t rule_sets = 0;
  size_t connects = 0;
  size_t redirected = 0;
  size_t refused = 0;  // only because conntrack tracks them
  size_t firewall = 0;
  size_t open = 0;   // the evaluator names a rule that it cannot evaluate
  size_t broad = 0;  // taken, but by a rule about too many ports, or by a policy
  size_t sometimes = 0;
  size_t skipped = 0;  // what the kernel did can be seen in two ways
};
std::string ToText(const Tally& tally);

// What became of a number of like connects.
struct Fates {
  std::vector<Fate> tracked;
  std::vector<Fate> untracked;
};

enum class Answer : uint8_t { kHost, kRedirected, kRefused, kFirewall, kEither };
Answer AnswerOf(const Fates& fates);

// What the evaluator answers for one connect: `evaluation` is for that protocol and address alone.
struct Claim {
  Trace trace;
  Evaluation evaluation;
};
std::string ToText(const Trace& trace);

// Empty if the claim is right, which is then added to `tally`; otherwise what is wrong.
std::string Disagreement(const Target& target, Spice spice, const Fates& fates, const Claim& claim,
                         Tally& tally);

}  // namespace npg::rules::random_rules

#endif  // NODEPORT_GUARD_TESTS_INTEGRATION_RULES_RANDOM_VERDICT_H_
