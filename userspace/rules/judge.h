// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_JUDGE_H_
#define NODEPORT_GUARD_RULES_JUDGE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/port.h"
#include "rules/evaluator.h"
#include "rules/owner_name.h"
#include "rules/port_set.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"
#include "rules/walk.h"

namespace npg::rules {

// What the walks of one connect, tracked and untracked, come to.
struct Judgement {
  std::vector<WalkResult::Hit> taken;       // by a Nat, or refused only because they are tracked
  absl::btree_map<uint32_t, PortSet> open;  // by reason
  std::vector<WalkResult::Broad> broad;
  PortSet redirected;  // of broad Nats; in a trace, also those of `taken` that a Nat took
  // For traces, of one port:
  PortSet refused;     // surely, or for some of many like connects
  PortSet firewall;    // refused even if conntrack does not track them, as surely
  uint32_t doubt = 0;  // why it is not known whether it is refused; 0: it is known
  PortSet passed;
  std::string destination;  // of the first Nat
};

// `connect`: its index. `trace`: for steps of the tracked walk; then, `ports` are few.
absl::StatusOr<Judgement> Judge(RuleSet& rules, RuleReader& reader, const EvaluateOptions& options,
                                Owners& owners, Reasons& reasons, size_t connect,
                                const PortSet& ports, std::vector<TraceStep>* trace);

// "nft table ip nat, chain OUTPUT, handle 5"; "..., rule 5" of a legacy table.
std::string RuleText(const RuleSet::Store& store, RuleSet::ChainId chain, uint64_t rule);

// "31000-31009/tcp, 31012/tcp".
std::string PortsText(const PortSet& ports, core::Protocol protocol);

// "65535 ports of tcp".
std::string NumberOfPortsText(const PortSet& ports, core::Protocol protocol);

// A line of Evaluation::unknown.
std::string UnknownText(const RuleSet::Store& store, const Reasons::Reason& reason,
                        absl::string_view ports);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_JUDGE_H_
