// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_WALK_H_
#define NODEPORT_GUARD_RULES_WALK_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "rules/evaluator.h"
#include "rules/owner_name.h"
#include "rules/packet_facts.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"
#include "rules/test_split.h"

// The way of one connect's packets, to all ports at once, through the rules. Where a rule tells
// ports apart, the packets part: they are flows, each with the ports that it is about.

namespace npg::rules {

// Rules that cannot be evaluated, numbered from 1.
class Reasons {
 public:
  struct Reason {
    RuleSet::ChainId chain = 0;
    uint64_t rule = 0;  // handle
    std::string what;
    auto operator<=>(const Reason&) const = default;
  };

  uint32_t Number(Reason reason);
  const Reason& operator[](uint32_t number) const { return reasons_[number - 1]; }

 private:
  std::vector<Reason> reasons_;
  absl::btree_map<Reason, uint32_t> numbers_;
};

struct Flow {
  PortSet ports;
  FlowState state;
};

// Puts a flow to others; those in the same state become one. Of very many, the rest becomes one
// whose mark is not known.
void MergeFlow(absl::InlinedVector<Flow, 2>& flows, Flow flow);

// What a walk finds out.
struct WalkResult {
  struct Hit {
    uint16_t port = 0;
    Owners::Id owner = 0;
    uint32_t reason = 0;  // 0: sure
  };
  // A Nat that took too many ports for one rule, surely.
  struct Broad {
    RuleSet::ChainId chain = 0;
    uint64_t rule = 0;
    bool redirect = false;
    PortSet ports;
  };
  // A refusal that is not sure.
  struct Doubt {
    uint32_t reason = 0;
    RuleSet::ChainId chain = 0;
    uint64_t rule = 0;  // 0: the policy
    auto operator<=>(const Doubt&) const = default;
  };
  std::vector<Hit> nats;
  std::vector<Hit> refusals;  // by rules that name the ports
  std::vector<Broad> broad;
  // Refused by any rule, or by a policy.
  PortSet refused;                                  // always, or for some of many like connects
  absl::btree_map<Doubt, PortSet> maybe_refused;    // what cannot be evaluated decides
  PortSet passed;                                   // reached the end
  absl::flat_hash_map<uint32_t, PortSet> diverted;  // by reason
  std::string destination;                          // of the first Nat
};

class Walk {
 public:
  using FlowList = absl::InlinedVector<Flow, 2>;

  struct Settings {
    size_t connect = 0;  // its index
    bool tracked = true;
    std::vector<TraceStep>* trace = nullptr;  // to record steps in, of few ports
  };

  // All must outlive the walk.
  Walk(RuleSet& rules, RuleReader& reader, const EvaluateOptions& options, Owners& owners,
       Reasons& reasons, Settings settings);

  // An error is one of the reader. Once.
  absl::Status Run(const PortSet& ports);
  WalkResult& result() { return result_; }

 private:
  // A chain that flows are in.
  struct Frame {
    RuleSet::ChainId chain = 0;
    const Way* way = nullptr;  // that led there
    int depth = 0;
    FlowList returned;
  };
  // A rule that a flow is at.
  struct At {
    Frame& frame;
    uint32_t rule = 0;
    uint32_t end = 0;                   // of its steps
    const Way* way = nullptr;           // up to this rule, with what it asked so far
    const FlowState* before = nullptr;  // of the flow when it came to the rule
    bool has_data = false;              // its map's data is `data`
    TextId data = 0;
  };
  struct Branch {
    PortSet ports;
    bool whole = true;  // all of the flow's ports, and `ports` is empty
    bool sometimes = false;
    uint32_t reason = 0;
    bool names = false;
    size_t width = 0;
  };
  using Branches = absl::InlinedVector<Branch, 1>;

  void RunBase(const BaseChain& base, FlowList& flows);
  void RunChain(RuleSet::ChainId chain, FlowList& flows, const Way* way, int depth);
  void GiveUp(const Frame& frame, uint32_t rule, const FlowList& flows);
  void RunRule(Frame& frame, uint32_t rule, FlowList& flows);
  // What does not match stays in `flow`; what goes on behind the rule in another state is put
  // into `out`.
  void RunSteps(const At& at, uint32_t step, Flow& flow, FlowList& out);
  bool RunTests(const At& at, uint32_t& step, const Flow& flow, Branches& branches);
  Split RunTest(const StoredStep& step, const Flow& flow, const PortSet& ports);
  void Refine(const At& at, const StoredStep& step, const Flow& flow, Branch branch,
              Branches& refined);
  size_t WidthOf(const StoredStep& step, const Flow& flow, const Split& split,
                 const PortSet& ports);
  // The branch becomes a flow of its own.
  void Follow(const At& at, uint32_t step, Branch& branch, Flow& flow, FlowList& out);
  void RunEffects(const At& at, uint32_t step, Flow part, FlowList& out);
  // A map of verdicts or data.
  void RunMap(const At& at, uint32_t step, Flow part, FlowList& out);
  void RunUnknownMap(const At& at, uint32_t step, const std::string& what, Flow part,
                     FlowList& out);
  void FollowCatchall(const At& at, uint32_t step, const StoredElement& element, FlowList forked,
                      Flow part, FlowList& out);
  void FollowElement(const At& at, uint32_t step, const StoredElement& element, size_t width,
                     bool by_port, Flow part, FlowList& out);
  // `flow` is left with what `branch`, which is not sure, leaves; returns what follows it.
  Flow Fork(const At& at, const Branch& branch, Flow& flow, FlowList& out);
  void Obey(const At& at, VerdictKind verdict, uint32_t target, Flow part, FlowList& out);
  void Jump(const At& at, bool returns, RuleSet::ChainId target, Flow part, FlowList& out);
  void RunNat(const At& at, const StoredStep& step, Flow part);
  void Take(const At& at, const Nat& nat, const Flow& part);
  void Refuse(const At& at, const Flow& part);
  void NoteRefusal(RuleSet::ChainId chain, uint64_t rule, const Flow& part);
  void ChangeMark(const At& at, const MarkChange& change, Flow& part);

  void Divert(const At& at, absl::string_view what, Flow part, FlowList& out);
  void Leave(const At& at, Flow part, FlowList& to);
  void Keep(const At& at, Flow& part);
  std::optional<Nat> WithData(const At& at, Nat nat) const;
  // Where `nat` leads if that is this node, at the same port or another; nullopt: elsewhere.
  std::optional<uint16_t> OwnDestination(const Nat& nat, const Flow& part) const;
  void AddHits(const Way* way, const Flow& part, std::vector<WalkResult::Hit>& hits,
               size_t max_width);
  FlowState Doubted(const PortSet& ports, FlowState state, const Branch& branch);
  // Whether a rule on the way, or on an earlier one, named the port of a flow of a trace.
  bool NamesPort(const At& at, const Flow& flow) const;
  uint32_t ReasonOfPort(const Flow& flow, uint16_t port) const;
  uint32_t ReasonOf(const At& at, absl::string_view what);
  void LoadChain(RuleSet::ChainId chain);
  const StoredSet& LoadSet(SetId set);
  Packet PacketOf(const Flow& flow) const;
  uint64_t HandleOf(const At& at) const;

  void Record(const At& at, const Flow& flow, std::string verdict);

  RuleSet& rules_;
  RuleSet::Store& store_;
  RuleReader& reader_;
  const EvaluateOptions& options_;
  Owners& owners_;
  Reasons& reasons_;
  const Settings settings_;
  const PacketFacts& facts_;

  struct Named {
    Owners::Id owner = 0;
    size_t width = 0;
  };
  absl::flat_hash_map<uint16_t, Named> named_;  // for flows whose state is `persisted`
  std::vector<uint32_t> reasons_of_ports_;  // of flows that are not sure: the first of each port
  HookPoint point_;
  FlowList accepted_;  // in the base chain
  size_t visited_ = 0;
  uint32_t gave_up_ = 0;  // the reason, if there were too many rules
  absl::Status status_;
  WalkResult result_;
};

// The destination after a Nat of a packet, or "" if `nat` takes it from data that are not known.
std::string DestinationText(const Nat& nat, const PacketFacts& facts);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_WALK_H_
