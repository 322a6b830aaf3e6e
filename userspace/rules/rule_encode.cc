// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
// After netinet/in.h, with which the kernel's headers agree only in this order.
#include <linux/netfilter.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "rules/packet_facts.h"
#include "rules/rule.h"
#include "rules/rule_set.h"
#include "rules/rule_store.h"

namespace npg::rules {
namespace {

constexpr Value kPortBits = 0xffff;

bool IsPlainPort(const Test& test) {
  if (test.set || test.or_source_port || test.operands.size() != 1 || test.intervals.size() != 1) {
    return false;
  }
  const Operand& operand = test.operands.front();
  return operand.field == Field::kDestinationPort && (operand.mask & kPortBits) == kPortBits &&
         (operand.flip & kPortBits) == 0 && test.intervals.front().first <= kPortBits;
}

bool ContainsValue(const std::vector<Interval>& intervals, Value value) {
  return std::any_of(intervals.begin(), intervals.end(), [value](const Interval& interval) {
    return interval.first <= value && value <= interval.last;
  });
}

bool TestHolds(const Test& test, const PacketFacts& facts) {
  const Operand& operand = test.operands.front();
  const FieldValue field = ValueOf(operand, facts, HookPoint{}, FlowState{});
  if (field.kind != FieldValue::Kind::kConstant) return false;  // of the other family
  return ContainsValue(test.intervals, Adjust(operand, field.value)) != test.negated;
}

bool IsConstantTest(const Test& test) {
  if (test.set || test.or_source_port || test.operands.size() != 1) return false;
  const Operand& operand = test.operands.front();
  if (operand.field == Field::kSource || operand.field == Field::kDestination) {
    return operand.size == 4 || operand.size == 16;
  }
  return IsConstantField(operand.field);
}

// A bit for each of `facts`.
template <typename Holds>
std::string MaskOf(const std::vector<PacketFacts>& facts, Holds holds) {
  std::string mask((facts.size() + 7) / 8, '\0');
  for (size_t i = 0; i < facts.size(); ++i) {
    if (!holds(facts[i])) continue;
    mask[i / 8] = static_cast<char>(static_cast<uint8_t>(mask[i / 8]) | (1U << (i % 8)));
  }
  return mask;
}

void AndMask(std::string& mask, const std::string& other) {
  for (size_t i = 0; i < mask.size(); ++i) {
    mask[i] = static_cast<char>(static_cast<uint8_t>(mask[i]) & static_cast<uint8_t>(other[i]));
  }
}

bool IsEmptyMask(const std::string& mask) {
  return mask.find_first_not_of('\0') == std::string::npos;
}

bool IsTestKind(StepKind kind) {
  return kind == StepKind::kConstant || kind == StepKind::kDestination || kind == StepKind::kPort ||
         kind == StepKind::kTest;
}

bool HasEffect(const std::vector<StoredStep>& steps) {
  return std::any_of(steps.begin(), steps.end(), [](const StoredStep& step) {
    return !IsTestKind(step.kind) && step.kind != StepKind::kDataMap;
  });
}

}  // namespace

RuleSet::Store::Mask RuleSet::Store::FamilyMask(ChainId chain,
                                                const std::vector<PacketFacts>& facts) const {
  const uint8_t family = TableOf(chain).family;
  return MaskOf(facts, [family](const PacketFacts& of) {
    return family == NFPROTO_INET || family == of.family();
  });
}

RuleSet::Store::Mask RuleSet::Store::ConstantMask(const Test& test,
                                                  const std::vector<PacketFacts>& facts) {
  return MaskOf(facts, [&test](const PacketFacts& of) { return TestHolds(test, of); });
}

// Constant tests that follow each other or other tests become one, or two if some are of the
// destination, which a Nat can change. These go first: they are the cheapest, and the order of
// tests matters only to what happens between them.
void RuleSet::Store::Append(ChainId chain, const Rule& rule) {
  ++rules_;
  const Mask all = FamilyMask(chain, facts_);
  const Mask all_destinations = FamilyMask(chain, destination_facts_);
  Mask mask = all;
  Mask destinations = all_destinations;
  std::vector<StoredStep> steps;
  size_t tests = 0;  // where the tests begin that follow the last effect
  const auto put_masks = [&] {
    const auto at = [&] { return steps.begin() + static_cast<std::ptrdiff_t>(tests); };
    if (destinations != all_destinations) {
      steps.insert(at(), {StepKind::kDestination, 0, 0, destination_masks_.Intern(destinations)});
    }
    if (mask != all) steps.insert(at(), {StepKind::kConstant, 0, 0, masks_.Intern(mask)});
    mask = all;
    destinations = all_destinations;
  };
  for (const Step& step : rule.steps) {
    const auto* const test = std::get_if<Test>(&step);
    if (test == nullptr) {
      put_masks();
      steps.push_back(Encode(chain, step));
      tests = steps.size();
    } else if (!IsConstantTest(*test)) {
      steps.push_back(Encode(chain, step));
    } else if (test->operands.front().field == Field::kDestination) {
      AndMask(destinations, ConstantMask(*test, destination_facts_));
    } else {
      AndMask(mask, ConstantMask(*test, facts_));
    }
    if (IsEmptyMask(mask) || IsEmptyMask(destinations)) break;  // what follows is never reached
  }
  // Tests behind the last effect decide nothing.
  steps.resize(tests);
  const bool effect = HasEffect(steps);
  Chain& entry = chains_[chain];
  StoredRule& stored = entry.rules.emplace_back();
  stored.handle = rule.handle;
  stored.steps = static_cast<uint32_t>(entry.steps.size());
  if (!effect) return;
  stored.comment = texts_.Intern(rule.comment);
  entry.steps.insert(entry.steps.end(), steps.begin(), steps.end());
}

bool RuleSet::Store::TreatsAlike(size_t a, size_t b) const {
  if (facts_[a].family() != facts_[b].family() || facts_[a].protocol() != facts_[b].protocol()) {
    return false;
  }
  for (uint32_t mask = 0; mask < masks_.size(); ++mask) {
    if (Holds(mask, a) != Holds(mask, b)) return false;
  }
  for (uint32_t mask = 0; mask < destination_masks_.size(); ++mask) {
    if (HoldsTo(mask, DestinationOf(a)) != HoldsTo(mask, DestinationOf(b))) return false;
  }
  for (uint32_t number = 0; number < conditions_.size(); ++number) {
    for (const Operand& operand : conditions_[number].operands) {
      if (operand.field == Field::kSource || operand.field == Field::kDestination) return false;
    }
  }
  return true;
}

StoredStep RuleSet::Store::Encode(ChainId chain, const Step& step) {
  return std::visit(
      [this, chain](const auto& what) -> StoredStep {
        using What = std::decay_t<decltype(what)>;
        if constexpr (std::is_same_v<What, Test>) {
          return EncodeTest(chain, what);
        } else if constexpr (std::is_same_v<What, Verdict>) {
          return EncodeVerdict(chain, what);
        } else if constexpr (std::is_same_v<What, VerdictMap>) {
          return {StepKind::kVerdictMap, 0, 0, LookupNumber(chain, what.operands, what.map)};
        } else if constexpr (std::is_same_v<What, DataMap>) {
          return {StepKind::kDataMap, 0, 0, LookupNumber(chain, what.operands, what.map)};
        } else if constexpr (std::is_same_v<What, Nat>) {
          return EncodeNat(what);
        } else if constexpr (std::is_same_v<What, MarkChange>) {
          return {StepKind::kMark, 0, 0, mark_changes_.Intern({what})};
        } else if constexpr (std::is_same_v<What, ConnectionMarkChange>) {
          return {StepKind::kConnectionMark, 0, 0, 0};
        } else {
          static_assert(std::is_same_v<What, Untrack>);
          return {StepKind::kUntrack, 0, 0, 0};
        }
      },
      step);
}

StoredStep RuleSet::Store::EncodeTest(ChainId chain, const Test& test) {
  if (IsPlainPort(test)) {
    const Interval& interval = test.intervals.front();
    return {StepKind::kPort, static_cast<uint8_t>(test.negated ? 1 : 0),
            static_cast<uint16_t>(interval.first),
            static_cast<uint32_t>(std::min<Value>(interval.last, kPortBits))};
  }
  Condition condition{test.operands, test.intervals, kNoSet, test.negated, test.or_source_port};
  if (test.set) condition.set = FindOrAddSet(TableOf(chain), *test.set);
  return {StepKind::kTest, 0, 0, conditions_.Intern(std::move(condition))};
}

StoredStep RuleSet::Store::EncodeVerdict(ChainId chain, const Verdict& verdict) {
  StoredStep step{StepKind::kVerdict, static_cast<uint8_t>(verdict.kind), 0, 0};
  if (verdict.kind == VerdictKind::kJump || verdict.kind == VerdictKind::kGoto) {
    step.number = FindOrAddChain(chains_[chain].table, texts_.Intern(verdict.chain));
  } else if (verdict.kind == VerdictKind::kDivert) {
    step.number = texts_.Intern(verdict.unknown);
  }
  return step;
}

// One IPv4 address, with one port or none: nearly all there are.
StoredStep RuleSet::Store::EncodeNat(const Nat& nat) {
  const bool one_address = !nat.redirect && nat.address &&
                           nat.address->first == nat.address->last &&
                           nat.address->first <= UINT32_MAX && nat.address_offset < 0;
  const bool one_port =
      !nat.port || (nat.port->first == nat.port->last && nat.port->first <= kPortBits);
  if (one_address && one_port && nat.port_offset < 0) {
    const Value port = nat.port ? nat.port->first : Value(0);
    return {StepKind::kNat4, static_cast<uint8_t>(nat.port ? 1 : 0), static_cast<uint16_t>(port),
            static_cast<uint32_t>(nat.address->first)};
  }
  return {StepKind::kNat, 0, 0, nats_.Intern({nat})};
}

Nat RuleSet::Store::NatOf(const StoredStep& step) const {
  if (step.kind == StepKind::kNat) return nats_[step.number].nat;
  Nat nat;
  nat.address = Interval{step.number, step.number};
  if (step.flag != 0) nat.port = Interval{step.small, step.small};
  return nat;
}

uint32_t RuleSet::Store::LookupNumber(ChainId chain, const std::vector<Operand>& operands,
                                      const SetName& map) {
  return conditions_.Intern({operands, {}, FindOrAddSet(TableOf(chain), map), false, false});
}

}  // namespace npg::rules
