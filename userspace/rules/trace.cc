// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/judge.h"
#include "rules/owner_name.h"
#include "rules/port_set.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"
#include "rules/walk.h"

namespace npg::rules {
namespace {

Outcome OutcomeOf(const Judgement& judgement) {
  if (!judgement.redirected.empty()) return Outcome::kRedirected;
  if (!judgement.taken.empty()) return Outcome::kRefused;
  if (!judgement.open.empty() || judgement.doubt != 0) return Outcome::kUnknown;
  if (judgement.refused.empty()) return Outcome::kHost;
  return judgement.firewall.empty() ? Outcome::kRefused : Outcome::kFirewall;
}

}  // namespace

absl::StatusOr<Trace> TraceConnect(RuleSet& rules, RuleReader& reader, const Connect& connect,
                                   uint16_t port, const EvaluateOptions& options) {
  const auto& connects = rules.connects();
  const auto found = std::find(connects.begin(), connects.end(), connect);
  if (found == connects.end()) {
    return absl::InvalidArgumentError("the rules were not read for this address");
  }
  const auto index = static_cast<size_t>(found - connects.begin());
  Owners owners(rules.store());
  Reasons reasons;
  Trace trace;
  absl::StatusOr<Judgement> judgement =
      Judge(rules, reader, options, owners, reasons, index, PortSet::Of(port), &trace.steps);
  if (!judgement.ok()) return judgement.status();
  trace.outcome = OutcomeOf(*judgement);
  trace.sometimes = trace.outcome != Outcome::kHost && !judgement->passed.empty();
  if (trace.outcome == Outcome::kRedirected) trace.destination = judgement->destination;
  if (trace.outcome == Outcome::kUnknown) {
    const uint32_t reason =
        judgement->open.empty() ? judgement->doubt : judgement->open.begin()->first;
    trace.sometimes = false;
    trace.unknown =
        UnknownText(rules.store(), reasons[reason], PortsText(PortSet::Of(port), connect.protocol));
  }
  return trace;
}

}  // namespace npg::rules
