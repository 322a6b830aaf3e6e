// SPDX-License-Identifier: Apache-2.0
// Expressions that compare registers, or compute with them.
#include <netinet/in.h>

#include <linux/if_ether.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "base/netlink_view.h"
#include "rules/nft_attributes.h"
#include "rules/nft_expressions.h"
#include "rules/nft_registers.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

absl::string_view NftDataValue(absl::string_view data) {
  return base::FindAttribute(data, NFTA_DATA_VALUE);
}

bool IsNftName(Field field) { return field == Field::kInName || field == Field::kOutName; }

bool IsOpenOperand(const Operand& operand) {
  return operand.field == Field::kUnknown || operand.field == Field::kChance;
}

// The values that `op` (NFT_CMP_...) accepts, of those up to `max`; for NFT_CMP_NEQ, those that it
// does not. nullopt: none.
std::optional<Interval> NftAcceptedValues(uint32_t op, Value value, Value max) {
  switch (op) {
    case NFT_CMP_LT:
      if (value == 0) return std::nullopt;
      return Interval{0, value - 1};
    case NFT_CMP_LTE:
      return Interval{0, value};
    case NFT_CMP_GT:
      if (value >= max) return std::nullopt;
      return Interval{value + 1, max};
    case NFT_CMP_GTE:
      return Interval{value, max};
    default:
      return Interval{value, value};
  }
}

// Bits of `ct status` that no connection has before its first packet has passed the hooks, as long
// as that packet keeps its destination.
constexpr uint32_t kNftStatusOfOldConnections = IPS_SEEN_REPLY | IPS_ASSURED | IPS_DST_NAT;

// (operand & mask) ^ flip.
void ApplyNftMask(Operand& operand, Value mask, Value flip) {
  if (operand.field == Field::kUnknown && operand.unknown == "ct status" &&
      (mask & ~Value(kNftStatusOfOldConnections)) == 0) {
    operand = FixedOperand(operand.size);
  }
  operand.mask &= mask;
  operand.flip = (operand.flip & mask) ^ flip;
}

}  // namespace

void NftExpressions::AddOpenTest(Field field, absl::string_view unknown) {
  Test& test = std::get<Test>(rule_.steps.emplace_back(std::in_place_type<Test>));
  test.operands.push_back(UnknownOperand(unknown, 0));
  test.operands.back().field = field;
}

void NftExpressions::AddTest(const Operand& operand, std::optional<Interval> values, bool negated) {
  Interval accepted = values.value_or(Interval{});
  if (operand.mask == 0) {  // the same for each packet
    const bool inside = values && operand.flip >= accepted.first && operand.flip <= accepted.last;
    if (inside != negated) return;
    values.reset();
    negated = false;
    ended_ = true;
  }
  if (values && !negated && NarrowLastTest(operand, accepted)) return;
  Test& test = std::get<Test>(rule_.steps.emplace_back(std::in_place_type<Test>));
  test.negated = negated;
  Operand& added = test.operands.emplace_back(operand);
  if (!values) return;
  if (accepted.first == accepted.last && added.flip != 0) {
    accepted.first ^= added.flip;
    accepted.last = accepted.first;
    added.flip = 0;
  }
  test.intervals.push_back(accepted);
}

// nft has ranges as two comparisons.
bool NftExpressions::NarrowLastTest(const Operand& operand, const Interval& accepted) {
  if (rule_.steps.empty()) return false;
  Test* const last = std::get_if<Test>(&rule_.steps.back());
  if (last == nullptr || last->negated || last->intervals.size() != 1 || last->or_source_port ||
      last->operands.size() != 1 || last->operands.front() != operand) {
    return false;
  }
  Interval& interval = last->intervals.front();
  interval.first = std::max(interval.first, accepted.first);
  interval.last = std::min(interval.last, accepted.last);
  if (interval.first > interval.last) last->intervals.clear();
  return true;
}

bool NftExpressions::Compare(const NftAttributes& attributes) {
  const std::optional<uint8_t> start = NftRegisters::Start(attributes.Number(NFTA_CMP_SREG));
  const std::optional<uint32_t> op = attributes.Number(NFTA_CMP_OP);
  const absl::string_view data = NftDataValue(attributes.Bytes(NFTA_CMP_DATA));
  if (!start || !op || *op > NFT_CMP_GTE || data.empty()) return false;
  if (*start + data.size() > NftRegisters::kSize) return false;
  const NftRegisters::Pieces pieces = registers_.Split(*start, data.size());
  if (pieces.size() > 1 && *op != NFT_CMP_EQ) {
    AddOpenTest(Field::kUnknown, "a comparison of several fields at once");
    return true;
  }
  for (const NftRegisters::Piece& piece : pieces) {
    ComparePiece(piece, data.substr(piece.start, piece.size), *op);
  }
  return true;
}

void NftExpressions::ComparePiece(const NftRegisters::Piece& piece, absl::string_view data,
                                  uint32_t op) {
  if (piece.load == nullptr) return AddOpenTest(Field::kUnknown, "data of a map");
  const NftLoad& load = *piece.load;
  Operand operand = load.operand;
  const bool ordered = op != NFT_CMP_EQ && op != NFT_CMP_NEQ;
  const bool negated = op == NFT_CMP_NEQ;
  if (load.kind == NftLoad::Kind::kConstant) return AddOpenTest(Field::kUnknown, "immediate");
  if (operand.mask != 0 && IsOpenOperand(operand))
    return AddOpenTest(operand.field, operand.unknown);
  // The kernel compares bytes (memcmp): what they are as a number of the host does not matter.
  if (operand.host_order && operand.size > 1 && (ordered || piece.size != load.size)) {
    return AddOpenTest(Field::kUnknown, "an ordered comparison in the host's byte order");
  }
  if (load.kind == NftLoad::Kind::kEtherType) {
    if (ordered || piece.size != load.size) {
      return AddOpenTest(Field::kUnknown, "meta protocol");
    }
    return CompareEtherType(static_cast<uint64_t>(ToValue(data, false)), negated);
  }
  unsigned shift = load.shift;
  if (piece.size < load.size) {
    shift += 8U * (load.size - piece.size);
    // With its NUL, it is the whole name.
    if (ordered || !IsNftName(operand.field) || data.back() != '\0') {
      operand.mask &= ~LowBits(shift);
      if (piece.size + shift / 8 == operand.size) operand.mask &= LowBits(8U * operand.size);
      operand.flip &= ~LowBits(shift);
    }
  }
  std::optional<Interval> values =
      NftAcceptedValues(op, ToValue(data, operand.host_order), LowBits(8U * piece.size));
  if (values) {
    values->first <<= static_cast<int>(shift);
    values->last <<= static_cast<int>(shift);
  }
  if (operand.field == Field::kFamily && op == NFT_CMP_EQ && operand.mask == kAllBits && values) {
    network_family_ = static_cast<uint8_t>(values->first);
  }
  AddTest(operand, values, negated);
}

void NftExpressions::CompareEtherType(uint64_t type, bool negated) {
  std::optional<Interval> family;
  if (type == ETH_P_IP) family = Interval{NFPROTO_IPV4, NFPROTO_IPV4};
  if (type == ETH_P_IPV6) family = Interval{NFPROTO_IPV6, NFPROTO_IPV6};
  if (family && !negated) network_family_ = static_cast<uint8_t>(family->first);
  AddTest(FieldOperand(Field::kFamily, 1), family, negated);
}

bool NftExpressions::Range(const NftAttributes& attributes) {
  const std::optional<uint8_t> start = NftRegisters::Start(attributes.Number(NFTA_RANGE_SREG));
  const std::optional<uint32_t> op = attributes.Number(NFTA_RANGE_OP);
  const absl::string_view from = NftDataValue(attributes.Bytes(NFTA_RANGE_FROM_DATA));
  const absl::string_view to = NftDataValue(attributes.Bytes(NFTA_RANGE_TO_DATA));
  if (!start || !op || from.empty() || from.size() != to.size()) return false;
  if (*start + from.size() > NftRegisters::kSize) return false;
  const NftRegisters::Pieces pieces = registers_.Split(*start, from.size());
  const NftLoad* load = pieces.front().load;
  if (load != nullptr && load->operand.mask != 0 && IsOpenOperand(load->operand)) {
    AddOpenTest(load->operand.field, load->operand.unknown);
    return true;
  }
  if (pieces.size() != 1 || load == nullptr || load->kind != NftLoad::Kind::kOperand ||
      load->size != from.size() || (load->operand.host_order && load->size > 1)) {
    AddOpenTest(Field::kUnknown, "range");
    return true;
  }
  const int shift = load->shift;
  AddTest(load->operand, Interval{ToValue(from, false) << shift, ToValue(to, false) << shift},
          *op == NFT_RANGE_NEQ);
  return true;
}

bool NftExpressions::Bitwise(const NftAttributes& attributes) {
  const std::optional<uint8_t> from = NftRegisters::Start(attributes.Number(NFTA_BITWISE_SREG));
  const std::optional<uint8_t> to = NftRegisters::Start(attributes.Number(NFTA_BITWISE_DREG));
  const uint32_t size = attributes.Number(NFTA_BITWISE_LEN).value_or(0);
  if (!from || !to || size == 0) return false;
  if (size > NftRegisters::kSize - *from || size > NftRegisters::kSize - *to) return false;
  const absl::string_view mask = NftDataValue(attributes.Bytes(NFTA_BITWISE_MASK));
  const absl::string_view flip = NftDataValue(attributes.Bytes(NFTA_BITWISE_XOR));
  if (attributes.Number(NFTA_BITWISE_OP).value_or(NFT_BITWISE_BOOL) != NFT_BITWISE_BOOL ||
      mask.size() != size || flip.size() != size) {
    return LoadUnknown(attributes.Number(NFTA_BITWISE_DREG), size, "bitwise");
  }
  absl::InlinedVector<NftLoad, 2> loads;
  for (const NftRegisters::Piece& piece : registers_.Split(*from, size)) {
    if (piece.load == nullptr || piece.size != piece.load->size || piece.size > sizeof(Value) ||
        piece.load->kind != NftLoad::Kind::kOperand) {
      return LoadUnknown(attributes.Number(NFTA_BITWISE_DREG), size, "bitwise");
    }
    NftLoad& load = loads.emplace_back(*piece.load);
    load.start = static_cast<uint8_t>(*to + piece.start);
    const bool host_order = load.operand.host_order;
    ApplyNftMask(load.operand,
                 ToValue(mask.substr(piece.start, piece.size), host_order) << int{load.shift},
                 ToValue(flip.substr(piece.start, piece.size), host_order) << int{load.shift});
  }
  registers_.Forget(*to, size);
  for (NftLoad& load : loads) registers_.Add(std::move(load));
  return true;
}

bool NftExpressions::Byteorder(const NftAttributes& attributes) {
  const std::optional<uint8_t> from = NftRegisters::Start(attributes.Number(NFTA_BYTEORDER_SREG));
  const std::optional<uint8_t> to = NftRegisters::Start(attributes.Number(NFTA_BYTEORDER_DREG));
  const uint32_t size = attributes.Number(NFTA_BYTEORDER_LEN).value_or(0);
  const uint32_t unit = attributes.Number(NFTA_BYTEORDER_SIZE).value_or(0);
  if (!from || !to || size == 0) return false;
  const NftLoad* load = registers_.Find(*from);
  // The kernel converts whole units: a field of one byte stays as it is.
  const bool simple =
      load != nullptr && load->kind == NftLoad::Kind::kOperand && load->size == size &&
      (size == 1 || (unit == size && (load->whole() || IsOpenOperand(load->operand))));
  if (!simple) return LoadUnknown(attributes.Number(NFTA_BYTEORDER_DREG), size, "byteorder");
  NftLoad converted = *load;
  converted.start = *to;
  if (size > 1) converted.operand.host_order = !converted.operand.host_order;
  registers_.Set(std::move(converted));
  return true;
}

bool NftExpressions::Lookup(const NftAttributes& attributes) {
  const std::optional<uint8_t> start = NftRegisters::Start(attributes.Number(NFTA_LOOKUP_SREG));
  const absl::string_view name = attributes.Text(NFTA_LOOKUP_SET);
  if (!start || name.empty()) return false;
  std::vector<Operand> operands = registers_.Key(*start);
  SetName set{std::string(name)};
  if (!attributes.Has(NFTA_LOOKUP_DREG)) {
    const uint32_t flags = attributes.Number(NFTA_LOOKUP_FLAGS).value_or(0);
    Test& test = std::get<Test>(rule_.steps.emplace_back(std::in_place_type<Test>));
    test.operands = std::move(operands);
    test.negated = (flags & NFT_LOOKUP_F_INV) != 0;
    test.set = std::move(set);
    return true;
  }
  const std::optional<uint32_t> destination = attributes.Number(NFTA_LOOKUP_DREG);
  if (destination == uint32_t{NFT_REG_VERDICT}) {
    rule_.steps.emplace_back(VerdictMap{std::move(operands), std::move(set)});
    return true;
  }
  const std::optional<uint8_t> data = NftRegisters::Start(destination);
  if (!data) return false;
  rule_.steps.emplace_back(DataMap{std::move(operands), std::move(set)});
  registers_.SetMapData(*data);
  return true;
}

}  // namespace npg::rules
