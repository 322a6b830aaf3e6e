// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_PACKET_FACTS_H_
#define NODEPORT_GUARD_RULES_PACKET_FACTS_H_

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "rules/connect.h"
#include "rules/rule.h"

namespace npg::rules {

// What is the same for all ports and at all hooks: the constant fields of a connect, and its
// destination, which only a Nat changes.
class PacketFacts {
 public:
  explicit PacketFacts(const Connect& connect);

  uint8_t family() const { return family_; }      // NFPROTO_IPV4, NFPROTO_IPV6
  uint8_t protocol() const { return protocol_; }  // IPPROTO_...
  uint8_t address_size() const { return address_size_; }
  Value source() const { return source_; }
  Value destination() const { return destination_; }
  // After a Nat. The source stays.
  void set_destination(Value destination) { destination_ = destination; }

 private:
  uint8_t family_ = 0;
  uint8_t protocol_ = 0;
  uint8_t address_size_ = 0;
  Value source_ = 0;
  Value destination_ = 0;
};

// Where the packet is.
struct HookPoint {
  bool input = false;      // local input, otherwise local output
  bool conntrack = false;  // behind conntrack's own hook
};

// What the rules so far have made of the packet.
struct FlowState {
  uint32_t mark = 0;
  uint32_t unknown_mark = 0;  // bits of the mark that are not known
  uint16_t destination = 0;   // see RuleSet::Store
  bool sure = true;  // false: whether it comes this way depends on what cannot be evaluated
  bool connection_mark_known = true;
  bool tracked = true;
  bool natted = false;     // it has met a Nat, which left it at this node and its port
  bool persisted = false;  // the owners of ports are in the walk: a rule changed the mark
  bool sometimes = false;  // only some of many like connects come this way (kept for traces)

  bool operator==(const FlowState&) const = default;
};

// The value of a field.
struct FieldValue {
  enum class Kind : uint8_t {
    kConstant,
    kAbsent,  // the packet has no such field: no test of it holds, negated or not
    kDestinationPort,
    kSourcePort,
    kChance,
    kUnknown,
  };
  Kind kind = Kind::kUnknown;
  Value value = 0;            // kConstant
  absl::string_view unknown;  // kUnknown: what it is; of the operand, or static
};

// True for fields that are the same for all ports and at all hooks, as long as no Nat changes the
// destination.
bool IsConstantField(Field field);

// The value before mask and flip of the operand.
FieldValue ValueOf(const Operand& operand, const PacketFacts& facts, const HookPoint& point,
                   const FlowState& state);

// (value & mask) ^ flip, in the operand's size.
Value Adjust(const Operand& operand, Value value);

// The address as a number: of 4 bytes if it is IPv4.
Value AddressValue(const std::array<uint8_t, 16>& address);

// Bytes in network order, at most 16, as a number.
Value NumberOf(absl::string_view bytes);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_PACKET_FACTS_H_
