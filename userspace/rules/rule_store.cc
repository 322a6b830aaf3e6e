// SPDX-License-Identifier: Apache-2.0
#include "rules/rule_store.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/listener.h"
#include "core/port.h"
#include "rules/connect.h"
#include "rules/rule.h"
#include "rules/rule_set.h"

namespace npg::rules {
namespace {

uint64_t ChainKey(uint32_t table, TextId name) { return uint64_t{table} << 32 | name; }

std::pair<uint64_t, TextId> SetKey(uint32_t table, bool ip_set, TextId name) {
  return {uint64_t{table} << 1 | (ip_set ? 1U : 0U), name};
}

// All ipsets are in no table.
TableId TableOfSetName(const TableId& table, const SetName& name) {
  return name.ip_set ? TableId{} : table;
}

}  // namespace

RuleSet::Store::Store(std::vector<Connect> connects, const core::AddressSet& own)
    : connects_(std::move(connects)) {
  core::AddressSet destinations = own;
  for (const Connect& connect : ConnectsToLoopbackAnd({})) destinations.insert(connect.address);
  facts_.reserve(connects_.size());
  for (const Connect& connect : connects_) {
    facts_.emplace_back(connect);
    destinations.insert(connect.address);
  }
  destinations_.assign(destinations.begin(), destinations.end());
  std::sort(destinations_.begin(), destinations_.end());
  destination_facts_.reserve(destinations_.size());
  for (const auto& address : destinations_) {
    destination_facts_.emplace_back(Connect{core::Protocol::kTcp, address});
  }
  destination_of_.reserve(connects_.size());
  for (const Connect& connect : connects_) {
    destination_of_.push_back(FindDestination(connect.address).value_or(0));
  }
}

std::optional<uint16_t> RuleSet::Store::FindDestination(
    const std::array<uint8_t, 16>& address) const {
  const auto found = std::lower_bound(destinations_.begin(), destinations_.end(), address);
  if (found != destinations_.end() && *found == address) {
    return static_cast<uint16_t>(found - destinations_.begin());
  }
  if (!core::IsV4Mapped(address) || !core::IsLoopback(address)) return std::nullopt;
  std::array<uint8_t, 16> loopback = address;
  loopback[13] = 0;
  loopback[14] = 0;
  loopback[15] = 1;
  return FindDestination(loopback);
}

uint32_t RuleSet::Store::TableIndex(const TableId& table) {
  if (const std::optional<uint32_t> found = FindTable(table)) return *found;
  tables_.push_back(table);
  return static_cast<uint32_t>(tables_.size() - 1);
}

std::optional<uint32_t> RuleSet::Store::FindTable(const TableId& table) const {
  const auto found = std::find(tables_.begin(), tables_.end(), table);
  if (found == tables_.end()) return std::nullopt;
  return static_cast<uint32_t>(found - tables_.begin());
}

RuleSet::ChainId RuleSet::Store::FindOrAddChain(uint32_t table, TextId name) {
  const auto [entry, added] =
      chain_ids_.try_emplace(ChainKey(table, name), static_cast<ChainId>(chains_.size()));
  if (added) {
    Chain chain;
    chain.name = name;
    chain.table = table;
    chains_.push_back(std::move(chain));
  }
  return entry->second;
}

RuleSet::ChainId RuleSet::Store::FindOrAddChain(const ChainName& name) {
  return FindOrAddChain(TableIndex(name.table), texts_.Intern(name.name));
}

std::optional<RuleSet::ChainId> RuleSet::Store::FindChain(const ChainName& name) const {
  const std::optional<uint32_t> table = FindTable(name.table);
  const std::optional<TextId> text = texts_.Find(name.name);
  if (!table || !text) return std::nullopt;
  const auto found = chain_ids_.find(ChainKey(*table, *text));
  if (found == chain_ids_.end()) return std::nullopt;
  return found->second;
}

ChainName RuleSet::Store::NameOf(ChainId chain) const {
  return {TableOf(chain), std::string(PlainNameOf(chain))};
}

void RuleSet::Store::Begin(ChainId chain) {
  Forget(chain);
  chains_[chain].known = true;
}

void RuleSet::Store::Forget(ChainId chain) {
  Chain& entry = chains_[chain];
  rules_ -= entry.rules.size();
  forgotten_ += entry.rules.size();
  entry.known = false;
  entry.rules = {};
  entry.steps = {};
}

void RuleSet::Store::ForgetTable(const TableId& table) {
  const std::optional<uint32_t> index = FindTable(table);
  if (!index) return;
  for (ChainId chain = 0; chain < chains_.size(); ++chain) {
    if (chains_[chain].table == *index) Forget(chain);
  }
  for (SetId set = 0; set < sets_.size(); ++set) {
    if (sets_[set].table == *index && !sets_[set].ip_set) ForgetSet(set);
  }
}

std::optional<size_t> RuleSet::Store::FindRule(ChainId chain, uint64_t handle) const {
  const std::vector<StoredRule>& rules = chains_[chain].rules;
  const auto found = std::find_if(rules.begin(), rules.end(), [handle](const StoredRule& rule) {
    return rule.handle == handle;
  });
  if (found == rules.end()) return std::nullopt;
  return static_cast<size_t>(found - rules.begin());
}

void RuleSet::Store::Insert(ChainId chain, size_t at, const Rule& rule) {
  Append(chain, rule);
  Chain& entry = chains_[chain];
  if (at + 1 >= entry.rules.size()) return;
  const uint32_t from = entry.rules.back().steps;
  const uint32_t to = entry.rules[at].steps;
  const auto added = static_cast<uint32_t>(entry.steps.size()) - from;
  std::rotate(entry.steps.begin() + to, entry.steps.begin() + from, entry.steps.end());
  const auto place = entry.rules.begin() + static_cast<std::ptrdiff_t>(at);
  std::rotate(place, entry.rules.end() - 1, entry.rules.end());
  place->steps = to;
  std::for_each(place + 1, entry.rules.end(), [added](StoredRule& one) { one.steps += added; });
}

void RuleSet::Store::Erase(ChainId chain, size_t at) {
  Chain& entry = chains_[chain];
  const uint32_t begin = entry.rules[at].steps;
  const uint32_t removed = EndOf(chain, at) - begin;
  entry.steps.erase(entry.steps.begin() + begin, entry.steps.begin() + begin + removed);
  const auto next = entry.rules.erase(entry.rules.begin() + static_cast<std::ptrdiff_t>(at));
  std::for_each(next, entry.rules.end(), [removed](StoredRule& one) { one.steps -= removed; });
  --rules_;
  ++forgotten_;
}

uint32_t RuleSet::Store::EndOf(ChainId chain, size_t rule) const {
  const Chain& entry = chains_[chain];
  return rule + 1 < entry.rules.size() ? entry.rules[rule + 1].steps
                                       : static_cast<uint32_t>(entry.steps.size());
}

SetId RuleSet::Store::FindOrAddSet(const TableId& table, const SetName& name) {
  const uint32_t index = TableIndex(TableOfSetName(table, name));
  const TextId text = texts_.Intern(name.name);
  const auto [entry, added] =
      set_ids_.try_emplace(SetKey(index, name.ip_set, text), static_cast<SetId>(sets_.size()));
  if (added) {
    NamedSet& set = sets_.emplace_back();
    set.name = text;
    set.table = index;
    set.ip_set = name.ip_set;
  }
  return entry->second;
}

std::optional<SetId> RuleSet::Store::FindSet(const TableId& table, const SetName& name) const {
  const std::optional<uint32_t> index = FindTable(TableOfSetName(table, name));
  const std::optional<TextId> text = texts_.Find(name.name);
  if (!index || !text) return std::nullopt;
  const auto found = set_ids_.find(SetKey(*index, name.ip_set, *text));
  if (found == set_ids_.end()) return std::nullopt;
  return found->second;
}

SetName RuleSet::Store::NameOfSet(SetId id) const {
  return {std::string(texts_[sets_[id].name]), sets_[id].ip_set};
}

void RuleSet::Store::PutSet(SetId id, Set set) {
  ForgetSet(id);
  const uint32_t table = sets_[id].table;
  StoredSet stored;
  stored.known = true;
  stored.chance = set.chance;
  stored.unknown = std::move(set.unknown);
  stored.parts = std::move(set.parts);
  stored.key_size = set.elements.empty() ? 0 : set.elements.front().first.size();
  stored.elements.reserve(set.elements.size());
  for (const Element& element : set.elements) {
    if (element.first.size() != stored.key_size || element.last.size() != stored.key_size) {
      stored.unknown = "set with keys of different sizes";
      continue;
    }
    StoredElement& entry = stored.elements.emplace_back();
    entry.key = static_cast<uint32_t>(stored.keys.size());
    entry.range = element.first != element.last;
    entry.catchall = element.catchall;
    absl::StrAppend(&stored.keys, element.first, entry.range ? element.last : "");
    entry.verdict = element.verdict.kind;
    entry.data = texts_.Intern(element.data);
    entry.comment = texts_.Intern(element.comment);
    if (entry.verdict == VerdictKind::kJump || entry.verdict == VerdictKind::kGoto) {
      entry.target = FindOrAddChain(table, texts_.Intern(element.verdict.chain));
    } else if (entry.verdict == VerdictKind::kDivert) {
      entry.target = texts_.Intern(element.verdict.unknown);
    }
  }
  stored.keys.shrink_to_fit();
  elements_ += stored.elements.size();
  sets_[id].set = std::move(stored);
}

void RuleSet::Store::ForgetSet(SetId id) {
  elements_ -= sets_[id].set.elements.size();
  forgotten_ += sets_[id].set.elements.size();
  sets_[id].set = StoredSet{};
}

void RuleSet::Store::ForgetIpSets() {
  for (SetId set = 0; set < sets_.size(); ++set) {
    if (sets_[set].ip_set) ForgetSet(set);
  }
}

// ---- Compacting: what is known is copied, with numbers anew.

RuleSet::Store::Store(const Store& other)
    : Store(other.connects_, {other.destinations_.begin(), other.destinations_.end()}) {
  bases = other.bases;
  for (ChainId chain = 0; chain < other.chains_.size(); ++chain) {
    if (other.chains_[chain].known) CopyChain(other, chain);
  }
  for (const NamedSet& set : other.sets_) {
    if (set.set.known) CopySet(other, set);
  }
}

RuleSet::ChainId RuleSet::Store::CopyChainId(const Store& other, ChainId from) {
  return FindOrAddChain(TableIndex(other.TableOf(from)), texts_.Intern(other.PlainNameOf(from)));
}

void RuleSet::Store::CopyChain(const Store& other, ChainId from) {
  const ChainId to = CopyChainId(other, from);
  const Chain& source = other.chains_[from];
  std::vector<StoredRule> rules = source.rules;
  for (StoredRule& rule : rules) rule.comment = texts_.Intern(other.text(rule.comment));
  std::vector<StoredStep> steps;
  steps.reserve(source.steps.size());
  for (const StoredStep& step : source.steps) steps.push_back(CopyStep(other, step));
  rules_ += rules.size();
  Chain& chain = chains_[to];
  chain.rules = std::move(rules);
  chain.steps = std::move(steps);
  chain.known = true;
}

void RuleSet::Store::CopySet(const Store& other, const NamedSet& from) {
  const SetId to =
      FindOrAddSet(other.tables_[from.table], {std::string(other.texts_[from.name]), from.ip_set});
  StoredSet set = from.set;
  for (StoredElement& element : set.elements) {
    element.data = texts_.Intern(other.text(element.data));
    element.comment = texts_.Intern(other.text(element.comment));
    if (element.verdict == VerdictKind::kJump || element.verdict == VerdictKind::kGoto) {
      element.target = CopyChainId(other, element.target);
    } else if (element.verdict == VerdictKind::kDivert) {
      element.target = texts_.Intern(other.text(element.target));
    }
  }
  elements_ += set.elements.size();
  sets_[to].set = std::move(set);
}

StoredStep RuleSet::Store::CopyStep(const Store& other, const StoredStep& step) {
  StoredStep copy = step;
  switch (step.kind) {
    case StepKind::kConstant:
      copy.number = masks_.Intern(other.masks_[step.number]);
      break;
    case StepKind::kDestination:
      copy.number = destination_masks_.Intern(other.destination_masks_[step.number]);
      break;
    case StepKind::kTest:
    case StepKind::kVerdictMap:
    case StepKind::kDataMap:
      copy.number = CopyCondition(other, step.number);
      break;
    case StepKind::kVerdict: {
      const auto verdict = static_cast<VerdictKind>(step.flag);
      if (verdict == VerdictKind::kJump || verdict == VerdictKind::kGoto) {
        copy.number = CopyChainId(other, step.number);
      } else if (verdict == VerdictKind::kDivert) {
        copy.number = texts_.Intern(other.text(step.number));
      }
      break;
    }
    case StepKind::kNat:
      copy.number = nats_.Intern(other.nats_[step.number]);
      break;
    case StepKind::kMark:
      copy.number = mark_changes_.Intern(other.mark_changes_[step.number]);
      break;
    case StepKind::kPort:
    case StepKind::kNat4:
    case StepKind::kConnectionMark:
    case StepKind::kUntrack:
      break;
  }
  return copy;
}

uint32_t RuleSet::Store::CopyCondition(const Store& other, uint32_t number) {
  Condition condition = other.conditions_[number];
  if (condition.set != kNoSet) {
    condition.set = FindOrAddSet(other.TableOfSet(condition.set), other.NameOfSet(condition.set));
  }
  return conditions_.Intern(std::move(condition));
}

}  // namespace npg::rules
