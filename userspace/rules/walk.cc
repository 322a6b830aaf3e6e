// SPDX-License-Identifier: Apache-2.0
#include "rules/walk.h"

#include <netinet/in.h>
// After netinet/in.h, with which the kernel's headers agree only in this order.
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "rules/evaluator.h"
#include "rules/owner_name.h"
#include "rules/packet_facts.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"
#include "rules/test_split.h"

namespace npg::rules {
namespace {

constexpr size_t kAllPorts = 65535;
// Rules that set marks by port can make a flow of each port.
constexpr size_t kMaxFlows = 256;

void DropEmptyFlows(Walk::FlowList& flows) {
  flows.erase(std::remove_if(flows.begin(), flows.end(),
                             [](const Flow& flow) { return flow.ports.empty(); }),
              flows.end());
}

// False: no flow has the same state.
bool AddToFlow(Walk::FlowList& flows, const Flow& flow) {
  for (Flow& other : flows) {
    if (other.state != flow.state) continue;
    other.ports.Add(flow.ports);
    return true;
  }
  return false;
}

bool IsWalkTest(StepKind kind) {
  return kind == StepKind::kConstant || kind == StepKind::kDestination || kind == StepKind::kPort ||
         kind == StepKind::kTest;
}

}  // namespace

void MergeFlow(absl::InlinedVector<Flow, 2>& flows, Flow flow) {
  if (flow.ports.empty()) return;
  if (AddToFlow(flows, flow)) return;
  if (flows.size() >= kMaxFlows) {
    flow.state.mark = 0;
    flow.state.unknown_mark = UINT32_MAX;
    if (AddToFlow(flows, flow)) return;
  }
  flows.push_back(std::move(flow));
}

uint32_t Reasons::Number(Reason reason) {
  const auto [entry, added] = numbers_.try_emplace(reason, 0);
  if (added) {
    reasons_.push_back(std::move(reason));
    entry->second = static_cast<uint32_t>(reasons_.size());
  }
  return entry->second;
}

Walk::Walk(RuleSet& rules, RuleReader& reader, const EvaluateOptions& options, Owners& owners,
           Reasons& reasons, Settings settings)
    : rules_(rules),
      store_(rules.store()),
      reader_(reader),
      options_(options),
      owners_(owners),
      reasons_(reasons),
      settings_(settings),
      facts_(store_.facts(settings.connect)) {}

absl::Status Walk::Run(const PortSet& ports) {
  FlowList flows;
  FlowState state;
  state.tracked = settings_.tracked;
  state.destination = store_.DestinationOf(settings_.connect);
  MergeFlow(flows, {ports, state});
  for (const BaseChain& base : rules_.base_chains()) RunBase(base, flows);
  for (const Flow& flow : flows) result_.passed.Add(flow.ports);
  return status_;
}

void Walk::RunBase(const BaseChain& base, FlowList& flows) {
  const uint8_t family = base.chain.table.family;
  if (family != NFPROTO_INET && family != facts_.family()) return;
  point_.input = base.hook == NF_INET_LOCAL_IN;
  // The nat hook of local input has SNAT only.
  if (base.nat && point_.input) return;
  point_.conntrack = point_.input || base.priority >= NF_IP_PRI_CONNTRACK;
  accepted_.clear();
  FlowList walking;
  for (Flow& flow : flows) {
    const bool skips = base.nat && (!flow.state.tracked || flow.state.natted);
    MergeFlow(skips ? accepted_ : walking, std::move(flow));
  }
  const RuleSet::ChainId chain = store_.FindOrAddChain(base.chain);
  if (!walking.empty()) RunChain(chain, walking, nullptr, 0);
  for (Flow& flow : walking) {
    if (!base.drops || visited_ > options_.max_visits) {
      MergeFlow(accepted_, std::move(flow));
      continue;
    }
    NoteRefusal(chain, 0, flow);
    if (settings_.trace != nullptr && !flow.ports.empty()) {
      settings_.trace->push_back(
          {point_.input, base.chain, 0, "", "DROP", flow.state.sometimes, false});
    }
  }
  flows = std::move(accepted_);
  accepted_.clear();
}

void Walk::RunChain(RuleSet::ChainId chain, FlowList& flows, const Way* way, int depth) {
  LoadChain(chain);
  Frame frame{chain, way, depth, {}};
  // Chains that are read meanwhile move the tables of the store: nothing of it is kept here.
  for (uint32_t rule = 0; rule < store_.RulesOf(chain).size() && status_.ok(); ++rule) {
    if (visited_ > options_.max_visits) {
      GiveUp(frame, rule, flows);
      break;
    }
    RunRule(frame, rule, flows);
    if (flows.empty()) break;
  }
  for (Flow& flow : frame.returned) MergeFlow(flows, std::move(flow));
}

// What happens to the ports is not known; the rules that remain are not asked.
void Walk::GiveUp(const Frame& frame, uint32_t rule, const FlowList& flows) {
  if (gave_up_ == 0) {
    const uint64_t handle = store_.RulesOf(frame.chain)[rule].handle;
    gave_up_ = reasons_.Number({frame.chain, handle, "too many rules"});
  }
  for (const Flow& flow : flows) result_.diverted[gave_up_].Add(flow.ports);
}

void Walk::RunRule(Frame& frame, uint32_t rule, FlowList& flows) {
  const StoredRule& stored = store_.RulesOf(frame.chain)[rule];
  const uint32_t end = store_.EndOf(frame.chain, rule);
  if (stored.steps == end) return;
  const StoredStep& first = store_.StepsOf(frame.chain)[stored.steps];
  if (first.kind == StepKind::kConstant && !store_.Holds(first.number, settings_.connect)) return;
  visited_ += flows.size();
  const Way way{.parent = frame.way,
                .chain = frame.chain,
                .rule = rule,
                .comment = stored.comment,
                .named = frame.way != nullptr && frame.way->named,
                .width = frame.way == nullptr ? kAllPorts : frame.way->width};
  const uint32_t begin = stored.steps;
  FlowList out;
  bool emptied = false;
  for (Flow& flow : flows) {
    const FlowState before = flow.state;
    const At at{frame, rule, end, &way, &before};
    RunSteps(at, begin, flow, out);
    emptied = emptied || flow.ports.empty();
  }
  if (emptied) DropEmptyFlows(flows);
  for (Flow& flow : out) MergeFlow(flows, std::move(flow));
}

void Walk::RunSteps(const At& at, uint32_t step, Flow& flow, FlowList& out) {
  Branches branches;
  if (!RunTests(at, step, flow, branches)) return;
  for (Branch& branch : branches) Follow(at, step, branch, flow, out);
}

bool Walk::RunTests(const At& at, uint32_t& step, const Flow& flow, Branches& branches) {
  branches.emplace_back().width = at.way->width;
  for (; step < at.end; ++step) {
    const StoredStep test = store_.StepsOf(at.frame.chain)[step];
    if (!IsWalkTest(test.kind)) break;
    if (test.kind == StepKind::kConstant) {
      if (!store_.Holds(test.number, settings_.connect)) return false;
      continue;
    }
    if (test.kind == StepKind::kDestination) {
      if (!store_.HoldsTo(test.number, flow.state.destination)) return false;
      continue;
    }
    Branches refined;
    for (Branch& branch : branches) Refine(at, test, flow, std::move(branch), refined);
    branches = std::move(refined);
    if (branches.empty()) return false;
  }
  return true;
}

Split Walk::RunTest(const StoredStep& step, const Flow& flow, const PortSet& ports) {
  if (step.kind == StepKind::kPort) {
    return SplitByPort(step.small, static_cast<uint16_t>(step.number), step.flag != 0, ports);
  }
  const Condition& condition = store_.condition(step.number);
  if (condition.set == kNoSet) return SplitByIntervals(condition, PacketOf(flow), ports);
  return SplitBySet(condition, LoadSet(condition.set), PacketOf(flow), ports);
}

void Walk::Refine(const At& at, const StoredStep& step, const Flow& flow, Branch branch,
                  Branches& refined) {
  const PortSet& ports = branch.whole ? flow.ports : branch.ports;
  Split split = RunTest(step, flow, ports);
  if (split.answer == Answer::kNo) return;
  if (split.by_port) {
    branch.width = std::min(branch.width, WidthOf(step, flow, split, ports));
    branch.names = branch.names || branch.width <= options_.max_ports_of_rule;
  }
  const auto add = [&](Answer answer, bool all, PortSet part) {
    if (!all && part.empty()) return;
    Branch& added = refined.emplace_back();
    added = branch;
    if (!all) {
      added.whole = false;
      added.ports = std::move(part);
    }
    if (answer == Answer::kSometimes) added.sometimes = true;
    if (answer == Answer::kUnknown && added.reason == 0) added.reason = ReasonOf(at, split.what);
  };
  if (split.answer != Answer::kMixed) return add(split.answer, true, {});
  add(Answer::kYes, false, std::move(split.yes));
  add(Answer::kSometimes, false, std::move(split.sometimes));
  add(Answer::kUnknown, false, std::move(split.unknown));
}

// How many ports the test is about. A trace knows only its own port, and asks again.
size_t Walk::WidthOf(const StoredStep& step, const Flow& flow, const Split& split,
                     const PortSet& ports) {
  const auto width = [](const Split& of, const PortSet& all) {
    return of.answer == Answer::kMixed ? of.yes.size() + of.sometimes.size() : all.size();
  };
  if (settings_.trace == nullptr) return width(split, ports);
  const PortSet all = PortSet::All();
  return width(RunTest(step, flow, all), all);
}

void Walk::Follow(const At& at, uint32_t step, Branch& branch, Flow& flow, FlowList& out) {
  Flow part;
  if (branch.sometimes || branch.reason != 0) {
    part = Fork(at, branch, flow, out);
  } else if (branch.whole) {
    part = {std::move(flow.ports), flow.state};
    flow.ports.Clear();
  } else {
    flow.ports.Remove(branch.ports);
    part = {std::move(branch.ports), flow.state};
  }
  Way way = *at.way;
  way.names = way.names || branch.names;
  way.named = way.named || branch.names;
  way.width = branch.width;
  At next = at;
  next.way = &way;
  RunEffects(next, step, std::move(part), out);
}

Flow Walk::Fork(const At& at, const Branch& branch, Flow& flow, FlowList& out) {
  Flow part{branch.whole ? flow.ports : branch.ports, flow.state};
  part.state = Doubted(part.ports, flow.state, branch);
  if (part.state == flow.state) return part;  // the others stay where they are
  flow.ports.Remove(part.ports);
  Leave(at, part, out);
  return part;
}

Packet Walk::PacketOf(const Flow& flow) const {
  PacketFacts facts = facts_;
  facts.set_destination(store_.destination(flow.state.destination));
  return {facts, point_, flow.state};
}

void Walk::LoadChain(RuleSet::ChainId chain) {
  if (store_.Known(chain) || store_.TableOf(chain).engine == Engine::kLegacy || !status_.ok()) {
    return;
  }
  status_.Update(reader_.ReadChain(store_.NameOf(chain), rules_));
  if (!store_.Known(chain)) store_.Begin(chain);
}

const StoredSet& Walk::LoadSet(SetId set) {
  if (!store_.set(set).known && status_.ok()) {
    status_.Update(reader_.ReadSet(store_.TableOfSet(set), store_.NameOfSet(set), rules_));
    if (!store_.set(set).known) store_.PutSet(set, Set{});
  }
  return store_.set(set);
}

FlowState Walk::Doubted(const PortSet& ports, FlowState state, const Branch& branch) {
  if (branch.sometimes && settings_.trace != nullptr) state.sometimes = true;
  if (!state.sure || branch.reason == 0) return state;
  state.sure = false;
  reasons_of_ports_.resize(kAllPorts + 1);
  for (const PortSet::Range& range : ports.ranges()) {
    for (uint32_t port = range.first; port <= range.last; ++port) {
      if (reasons_of_ports_[port] == 0) reasons_of_ports_[port] = branch.reason;
    }
  }
  return state;
}

uint32_t Walk::ReasonOfPort(const Flow& flow, uint16_t port) const {
  return flow.state.sure ? 0 : reasons_of_ports_[port];
}

}  // namespace npg::rules
