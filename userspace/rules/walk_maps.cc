// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "rules/owner_name.h"
#include "rules/packet_facts.h"
#include "rules/port_set.h"
#include "rules/rule.h"
#include "rules/rule_store.h"
#include "rules/test_split.h"
#include "rules/walk.h"

// Maps of verdicts and data: a part of Walk.

namespace npg::rules {
namespace {

// "numgen random mod 3": its elements are 0, 1 and 2, and there is no other number.
bool CoversNumbers(const StoredSet& set, const Condition& condition) {
  if (condition.operands.size() != 1) return false;
  Value last = 0;
  for (const StoredElement& element : set.elements) {
    std::string key(set.Last(element));
    if (condition.operands.front().host_order) std::reverse(key.begin(), key.end());
    last = std::max(last, NumberOf(key));
  }
  return !set.elements.empty() && last + 1 == set.elements.size();
}

}  // namespace

void Walk::RunMap(const At& at, uint32_t step, Flow part, FlowList& out) {
  const StoredStep map = store_.StepsOf(at.frame.chain)[step];
  const Condition& condition = store_.condition(map.number);
  const StoredSet& set = LoadSet(condition.set);
  const FlowState state = part.state;
  const ElementMatcher matcher(condition, set, PacketOf(part));
  if (matcher.general() == Answer::kUnknown) {
    return RunUnknownMap(at, step, matcher.what(), std::move(part), out);
  }
  if (matcher.general() == Answer::kNo) return Leave(at, std::move(part), out);
  FlowList forked;
  for (size_t i = 0; i < set.elements.size() && !part.ports.empty(); ++i) {
    const StoredElement element = set.elements[i];
    if (element.catchall && !set.chance) {
      return FollowCatchall(at, step, element, std::move(forked), std::move(part), out);
    }
    Branch branch;
    branch.whole = false;
    Answer answer = matcher.Match(element, part.ports, branch.ports);
    if (answer == Answer::kNo) continue;
    if (answer == Answer::kYes && set.chance) answer = Answer::kSometimes;
    size_t width = branch.ports.size();
    if (settings_.trace != nullptr) {
      PortSet all;
      matcher.Match(element, PortSet::All(), all);
      width = all.size();
    }
    Flow follower{branch.ports, state};
    if (answer == Answer::kYes) {
      part.ports.Remove(branch.ports);
    } else {
      branch.sometimes = answer == Answer::kSometimes;
      if (answer == Answer::kUnknown) branch.reason = ReasonOf(at, matcher.what());
      // Other elements may match the same ports, at other times.
      follower.state = Doubted(follower.ports, state, branch);
      MergeFlow(forked, follower);
    }
    FollowElement(at, step, element, width, matcher.by_port(), std::move(follower), out);
  }
  if (matcher.by_chance() && CoversNumbers(set, condition)) return;
  for (Flow& flow : forked) {
    part.ports.Remove(flow.ports);
    Leave(at, std::move(flow), out);
  }
  Leave(at, std::move(part), out);
}

// The element matches what no other one does: surely, or as far as those that may match do not.
void Walk::FollowCatchall(const At& at, uint32_t step, const StoredElement& element,
                          FlowList forked, Flow part, FlowList& out) {
  for (Flow& flow : forked) {
    part.ports.Remove(flow.ports);
    FollowElement(at, step, element, 0, false, std::move(flow), out);
  }
  if (part.ports.empty()) return;
  FollowElement(at, step, element, 0, false, std::move(part), out);
}

void Walk::RunUnknownMap(const At& at, uint32_t step, const std::string& what, Flow part,
                         FlowList& out) {
  if (store_.StepsOf(at.frame.chain)[step].kind == StepKind::kVerdictMap) {
    return Divert(at, what, std::move(part), out);
  }
  Branch branch;
  branch.reason = ReasonOf(at, what);
  part.state = Doubted(part.ports, part.state, branch);
  Leave(at, part, out);
  At next = at;
  next.has_data = false;
  RunEffects(next, step + 1, std::move(part), out);
}

void Walk::FollowElement(const At& at, uint32_t step, const StoredElement& element, size_t width,
                         bool by_port, Flow part, FlowList& out) {
  Way way = *at.way;
  way.element_comment = element.comment;
  if (by_port) {
    way.width = std::min(way.width, width);
    way.names = way.names || way.width <= options_.max_ports_of_rule;
    way.named = way.named || way.names;
  }
  At next = at;
  next.way = &way;
  if (store_.StepsOf(at.frame.chain)[step].kind == StepKind::kVerdictMap) {
    // net/netfilter/nf_tables_core.c: NFT_CONTINUE does not end the loop over the expressions.
    if (element.verdict == VerdictKind::kContinue) {
      return RunEffects(next, step + 1, std::move(part), out);
    }
    return Obey(next, element.verdict, element.target, std::move(part), out);
  }
  next.has_data = true;
  next.data = element.data;
  RunEffects(next, step + 1, std::move(part), out);
}

}  // namespace npg::rules
