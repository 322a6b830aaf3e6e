// SPDX-License-Identifier: Apache-2.0
#include "rules/packet_facts.h"

#include <netinet/in.h>
// After netinet/in.h, with which the kernel's headers agree only in this order.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cstdint>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"
#include "rules/connect.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

constexpr uint32_t kLoIndex = 1;  // include/net/net_namespace.h: LOOPBACK_IFINDEX
constexpr uint8_t kTcpSyn = 0x02;
constexpr Value kLoName = absl::MakeUint128(uint64_t{'l'} << 56 | uint64_t{'o'} << 48, 0);

constexpr Value kLoopbackSource = 0x7f000001;

FieldValue ConstantValue(Value value) { return {FieldValue::Kind::kConstant, value, {}}; }
FieldValue OpenValue(FieldValue::Kind kind) { return {kind, 0, {}}; }
FieldValue UnknownValue(absl::string_view what) { return {FieldValue::Kind::kUnknown, 0, what}; }

FieldValue AddressField(const Operand& operand, const PacketFacts& facts, Value value) {
  if (operand.size == facts.address_size()) return ConstantValue(value);
  // Addresses of the other family: no test of them holds.
  if (operand.size == 4 || operand.size == 16) return OpenValue(FieldValue::Kind::kAbsent);
  return UnknownValue("part of an address");
}

// A device that the hook does not have counts as index 0 with an empty name
// (net/netfilter/nft_meta.c, net/ipv4/netfilter/ip_tables.c).
FieldValue DeviceField(bool present, Value value) {
  return ConstantValue(present ? value : Value(0));
}

FieldValue MarkField(const Operand& operand, const FlowState& state) {
  if ((Value(state.unknown_mark) & operand.mask) != 0) return UnknownValue("the packet's mark");
  return ConstantValue(state.mark);
}

FieldValue ConnectionMarkField(const Operand& operand, const HookPoint& point,
                               const FlowState& state) {
  if (!state.tracked || !point.conntrack) return OpenValue(FieldValue::Kind::kAbsent);
  // Without bits of it, only whether there is a connection is asked.
  const bool known = state.connection_mark_known || (operand.mask & UINT32_MAX) == 0;
  return known ? ConstantValue(0) : UnknownValue("the connection's mark");
}

// net/netfilter/nft_ct.c, net/netfilter/xt_conntrack.c: without a conntrack entry, UNTRACKED if
// a rule made it so, else INVALID.
Value StateBits(const HookPoint& point, const FlowState& state) {
  if (!state.tracked) return NF_CT_STATE_UNTRACKED_BIT;
  return point.conntrack ? NF_CT_STATE_BIT(IP_CT_NEW) : NF_CT_STATE_INVALID_BIT;
}

}  // namespace

Value AddressValue(const std::array<uint8_t, 16>& address) {
  Value value = 0;
  for (const uint8_t byte : address) value = value << 8 | byte;
  return core::IsV4Mapped(address) ? value & 0xffffffff : value;
}

Value NumberOf(absl::string_view bytes) {
  Value value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

PacketFacts::PacketFacts(const Connect& connect)
    : protocol_(static_cast<uint8_t>(connect.protocol)),
      destination_(AddressValue(connect.address)) {
  const bool v4 = core::IsV4Mapped(connect.address);
  family_ = v4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
  address_size_ = v4 ? 4 : 16;
  source_ = v4 && core::IsLoopback(connect.address) ? kLoopbackSource : destination_;
}

bool IsConstantField(Field field) {
  switch (field) {
    case Field::kFamily:
    case Field::kProtocol:
    case Field::kSource:
    case Field::kDestination:
    case Field::kSourceType:
    case Field::kDestinationType:
      return true;
    default:
      return false;
  }
}

FieldValue ValueOf(const Operand& operand, const PacketFacts& facts, const HookPoint& point,
                   const FlowState& state) {
  switch (operand.field) {
    case Field::kFamily:
      return ConstantValue(facts.family());
    case Field::kProtocol:
      return ConstantValue(facts.protocol());
    case Field::kSource:
      return AddressField(operand, facts, facts.source());
    case Field::kDestination:
      return AddressField(operand, facts, facts.destination());
    case Field::kSourcePort:
      return OpenValue(FieldValue::Kind::kSourcePort);
    case Field::kDestinationPort:
      return OpenValue(FieldValue::Kind::kDestinationPort);
    case Field::kInName:
      return DeviceField(point.input, kLoName);
    case Field::kOutName:
      return DeviceField(!point.input, kLoName);
    case Field::kInIndex:
      return DeviceField(point.input, kLoIndex);
    case Field::kOutIndex:
      return DeviceField(!point.input, kLoIndex);
    case Field::kMark:
      return MarkField(operand, state);
    case Field::kConnectionMark:
      return ConnectionMarkField(operand, point, state);
    case Field::kState:
      return ConstantValue(StateBits(point, state));
    case Field::kSourceType:
    case Field::kDestinationType:
      return ConstantValue(RTN_LOCAL);
    case Field::kTcpFlags:
      if (facts.protocol() != IPPROTO_TCP) return OpenValue(FieldValue::Kind::kAbsent);
      return ConstantValue(kTcpSyn);
    case Field::kChance:
      return OpenValue(FieldValue::Kind::kChance);
    case Field::kUnknown:
      return UnknownValue(operand.unknown);
  }
  return UnknownValue(operand.unknown);
}

Value Adjust(const Operand& operand, Value value) {
  const Value adjusted = (value & operand.mask) ^ operand.flip;
  if (operand.size == 0 || operand.size >= sizeof(Value)) return adjusted;
  return adjusted & ((Value(1) << (operand.size * 8)) - 1);
}

}  // namespace npg::rules
