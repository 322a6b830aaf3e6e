// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_RULE_STORE_H_
#define NODEPORT_GUARD_RULES_RULE_STORE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "rules/connect.h"
#include "rules/interner.h"
#include "rules/packet_facts.h"
#include "rules/rule.h"
#include "rules/rule_set.h"

// How a RuleSet holds its rules.

namespace npg::rules {

using TextId = uint32_t;
using SetId = uint32_t;
inline constexpr SetId kNoSet = UINT32_MAX;

// A Test, or the lookup of a map. In the kernel it is one expression, too.
struct Condition {
  std::vector<Operand> operands;
  std::vector<Interval> intervals;
  SetId set = kNoSet;
  bool negated = false;
  bool or_source_port = false;

  bool operator==(const Condition&) const = default;

  template <typename H>
  friend H AbslHashValue(H state, const Condition& condition) {
    for (const Operand& operand : condition.operands) {
      state = H::combine(std::move(state), operand.field, operand.size, operand.offset,
                         operand.mask, operand.flip, operand.unknown);
    }
    for (const Interval& interval : condition.intervals) {
      state = H::combine(std::move(state), interval.first, interval.last);
    }
    return H::combine(std::move(state), condition.set, condition.negated);
  }
};

struct StoredNat {
  Nat nat;

  bool operator==(const StoredNat&) const = default;

  template <typename H>
  friend H AbslHashValue(H state, const StoredNat& stored) {
    const Interval address = stored.nat.address.value_or(Interval{});
    const Interval port = stored.nat.port.value_or(Interval{});
    return H::combine(std::move(state), stored.nat.redirect, address.first, address.last,
                      port.first, port.last, stored.nat.address_offset, stored.nat.port_offset);
  }
};

struct StoredMark {
  MarkChange change;

  bool operator==(const StoredMark&) const = default;

  template <typename H>
  friend H AbslHashValue(H state, const StoredMark& stored) {
    return H::combine(std::move(state), stored.change.known, stored.change.keep, stored.change.flip,
                      stored.change.from_connection);
  }
};

enum class StepKind : uint8_t {
  kConstant,     // number: of a mask of the connects for which it holds
  kDestination,  // number: of a mask of the destinations for which it holds
  kPort,         // flag: negated; small, number: first and last destination port
  kTest,         // number: of a Condition
  kVerdict,      // flag: VerdictKind; number: of the chain, or of the text of kDivert
  kVerdictMap,   // number: of a Condition
  kDataMap,      // the same
  kNat,          // number: of a Nat
  kNat4,         // flag: with a port; small: the port; number: the IPv4 address
  kMark,         // number: of a MarkChange
  kConnectionMark,
  kUntrack,
};

struct StoredStep {
  StepKind kind = StepKind::kConstant;
  uint8_t flag = 0;
  uint16_t small = 0;
  uint32_t number = 0;
};

// Its steps end where those of the next rule begin. None: it matches no connect, or without effect.
struct StoredRule {
  uint64_t handle = 0;
  TextId comment = 0;
  uint32_t steps = 0;
};

struct StoredElement {
  uint32_t key = 0;     // where the key is in StoredSet::keys
  uint32_t target = 0;  // a chain, or the text of kDivert
  TextId data = 0;
  TextId comment = 0;
  VerdictKind verdict = VerdictKind::kContinue;
  bool range = false;  // the last key follows the first
  bool catchall = false;
};

struct StoredSet {
  bool known = false;
  bool chance = false;
  std::string unknown;
  std::vector<IpSetPart> parts;
  size_t key_size = 0;
  std::string keys;
  std::vector<StoredElement> elements;

  absl::string_view First(const StoredElement& element) const {
    return absl::string_view(keys).substr(element.key, key_size);
  }
  absl::string_view Last(const StoredElement& element) const {
    return absl::string_view(keys).substr(element.key + (element.range ? key_size : 0), key_size);
  }
};

class RuleSet::Store {
 public:
  // See RuleSet.
  Store(std::vector<Connect> connects, const core::AddressSet& own);
  // What is known in `other`, without what only forgotten rules used.
  Store(const Store& other);
  Store& operator=(const Store&) = delete;
  ~Store() = default;

  const std::vector<Connect>& connects() const { return connects_; }
  const PacketFacts& facts(size_t connect) const { return facts_[connect]; }
  // Destinations that a packet can have, the connect's own or another one after a Nat: their
  // indexes. 127.0.0.1 stands for all of 127.0.0.0/8.
  std::optional<uint16_t> FindDestination(const std::array<uint8_t, 16>& address) const;
  uint16_t DestinationOf(size_t connect) const { return destination_of_[connect]; }
  Value destination(uint16_t index) const { return destination_facts_[index].destination(); }

  std::array<std::vector<BaseChain>, 2> bases;  // by Engine

  ChainId FindOrAddChain(const ChainName& name);
  std::optional<ChainId> FindChain(const ChainName& name) const;
  // By value: adding chains may move the texts' tables.
  ChainName NameOf(ChainId chain) const;
  absl::string_view PlainNameOf(ChainId chain) const { return texts_[chains_[chain].name]; }
  const TableId& TableOf(ChainId chain) const { return tables_[chains_[chain].table]; }
  bool Known(ChainId chain) const { return chains_[chain].known; }
  void Begin(ChainId chain);
  void Append(ChainId chain, const Rule& rule);
  void Forget(ChainId chain);
  void ForgetTable(const TableId& table);
  size_t rules() const { return rules_; }
  // Of rules and elements, since the store was made.
  size_t forgotten() const { return forgotten_; }
  size_t elements() const { return elements_; }

  const std::vector<StoredRule>& RulesOf(ChainId chain) const { return chains_[chain].rules; }
  const std::vector<StoredStep>& StepsOf(ChainId chain) const { return chains_[chain].steps; }
  std::optional<size_t> FindRule(ChainId chain, uint64_t handle) const;  // its place
  // Before the rule at this place, or at the end.
  void Insert(ChainId chain, size_t at, const Rule& rule);
  void Erase(ChainId chain, size_t at);
  uint32_t EndOf(ChainId chain, size_t rule) const;

  // `connect`: its index.
  bool Holds(uint32_t mask, size_t connect) const {
    return ((static_cast<uint8_t>(masks_[mask][connect / 8]) >> (connect % 8)) & 1) != 0;
  }
  bool HoldsTo(uint32_t mask, uint16_t destination) const {
    return ((static_cast<uint8_t>(destination_masks_[mask][destination / 8]) >> (destination % 8)) &
            1) != 0;
  }
  // True if all rules treat two connects, given by their indexes, alike, as far as their tests
  // show.
  bool TreatsAlike(size_t a, size_t b) const;
  const Condition& condition(uint32_t number) const { return conditions_[number]; }
  const MarkChange& mark_change(uint32_t number) const { return mark_changes_[number].change; }
  Nat NatOf(const StoredStep& step) const;  // kNat, kNat4
  absl::string_view text(TextId id) const { return texts_[id]; }

  SetId FindOrAddSet(const TableId& table, const SetName& name);
  std::optional<SetId> FindSet(const TableId& table, const SetName& name) const;
  void PutSet(SetId id, Set set);
  void ForgetSet(SetId id);
  void ForgetIpSets();
  const StoredSet& set(SetId id) const { return sets_[id].set; }
  TableId TableOfSet(SetId id) const { return tables_[sets_[id].table]; }
  SetName NameOfSet(SetId id) const;

 private:
  struct Chain {
    std::vector<StoredRule> rules;
    std::vector<StoredStep> steps;
    TextId name = 0;
    uint32_t table = 0;
    bool known = false;
  };
  struct NamedSet {
    StoredSet set;
    TextId name = 0;
    uint32_t table = 0;
    bool ip_set = false;
  };
  using Mask = std::string;  // a bit for each connect, or for each destination

  uint32_t TableIndex(const TableId& table);
  std::optional<uint32_t> FindTable(const TableId& table) const;
  ChainId FindOrAddChain(uint32_t table, TextId name);
  StoredStep Encode(ChainId chain, const Step& step);
  StoredStep EncodeTest(ChainId chain, const Test& test);
  StoredStep EncodeNat(const Nat& nat);
  StoredStep EncodeVerdict(ChainId chain, const Verdict& verdict);
  uint32_t LookupNumber(ChainId chain, const std::vector<Operand>& operands, const SetName& map);
  static Mask ConstantMask(const Test& test, const std::vector<PacketFacts>& facts);
  Mask FamilyMask(ChainId chain, const std::vector<PacketFacts>& facts) const;
  void CopyChain(const Store& other, ChainId from);
  void CopySet(const Store& other, const NamedSet& from);
  StoredStep CopyStep(const Store& other, const StoredStep& step);
  uint32_t CopyCondition(const Store& other, uint32_t number);
  ChainId CopyChainId(const Store& other, ChainId from);

  const std::vector<Connect> connects_;
  std::vector<PacketFacts> facts_;
  std::vector<std::array<uint8_t, 16>> destinations_;  // sorted
  std::vector<PacketFacts> destination_facts_;
  std::vector<uint16_t> destination_of_;  // of connects
  TextInterner texts_;
  std::deque<TableId> tables_;
  std::vector<Chain> chains_;
  absl::flat_hash_map<uint64_t, ChainId> chain_ids_;  // by table and name
  Interner<Condition> conditions_;
  Interner<StoredNat> nats_;
  Interner<StoredMark> mark_changes_;
  Interner<Mask> masks_;
  Interner<Mask> destination_masks_;
  std::deque<NamedSet> sets_;
  absl::flat_hash_map<std::pair<uint64_t, TextId>, SetId> set_ids_;  // by table, ipset and name
  size_t rules_ = 0;
  size_t elements_ = 0;
  size_t forgotten_ = 0;
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_RULE_STORE_H_
