// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_rule_builder.h"

#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/nft_objects.h"
#include "core/mark.h"
#include "core/port_blocks.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {
namespace {

// In the headers of TCP and UDP.
constexpr uint32_t kSourcePortOffset = 0;
constexpr uint32_t kDestinationPortOffset = 2;
constexpr uint32_t kPortSize = 2;
// Both ports; the data offset, the flags and the window of TCP.
constexpr uint32_t kPortsWord = 0;
constexpr uint32_t kTcpFlagsWord = 12;

// In the headers of IP.
constexpr uint32_t kIpv4ChecksumOffset = 10;
constexpr uint32_t kIpv4DestinationOffset = 16;
constexpr uint32_t kIpv6DestinationOffset = 24;

// The parts of a concatenated key are in consecutive 32-bit registers. The kernel lists
// the first 32 bits of a 128-bit register under the name of the latter; this does the
// same, so that rules can be compared.
uint32_t RegisterAt(uint32_t word) {
  constexpr uint32_t kWordsPerRegister = NFT_REG_SIZE / NFT_REG32_SIZE;
  return word % kWordsPerRegister == 0 ? NFT_REG_1 + word / kWordsPerRegister : NFT_REG32_00 + word;
}

}  // namespace

RuleBuilder::RuleBuilder(absl::string_view chain, absl::string_view comment)
    : rule_(nftnl_rule_alloc()) {
  nftnl_rule_set_u32(rule_.get(), NFTNL_RULE_FAMILY, NFPROTO_INET);
  nftnl_rule_set_str(rule_.get(), NFTNL_RULE_TABLE, std::string(kNftTableName).c_str());
  nftnl_rule_set_str(rule_.get(), NFTNL_RULE_CHAIN, std::string(chain).c_str());
  if (comment.empty()) return;
  const std::unique_ptr<nftnl_udata_buf, base::NftnlFree<nftnl_udata_buf_free>> data(
      nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN));
  nftnl_udata_put_strz(data.get(), NFTNL_UDATA_RULE_COMMENT, std::string(comment).c_str());
  nftnl_rule_set_data(rule_.get(), NFTNL_RULE_USERDATA, nftnl_udata_buf_data(data.get()),
                      nftnl_udata_buf_len(data.get()));
}

base::NftnlRule RuleBuilder::Build() { return std::move(rule_); }

// The rule owns what is appended.
nftnl_expr* RuleBuilder::Append(const char* name) {
  nftnl_expr* expression = nftnl_expr_alloc(name);
  nftnl_rule_add_expr(rule_.get(), expression);
  return expression;
}

void RuleBuilder::LoadMeta(uint32_t key) {
  nftnl_expr* meta = Append("meta");
  nftnl_expr_set_u32(meta, NFTNL_EXPR_META_KEY, key);
  nftnl_expr_set_u32(meta, NFTNL_EXPR_META_DREG, NFT_REG_1);
}

void RuleBuilder::HasConntrackBit(uint32_t key, uint32_t bit) {
  constexpr uint32_t kZero = 0;
  LoadConntrack(key);
  And(&bit, sizeof(bit));
  Compare(NFT_CMP_NEQ, &kZero, sizeof(kZero));
}

void RuleBuilder::LoadConntrack(uint32_t key) {
  nftnl_expr* ct = Append("ct");
  nftnl_expr_set_u32(ct, NFTNL_EXPR_CT_KEY, key);
  nftnl_expr_set_u32(ct, NFTNL_EXPR_CT_DREG, NFT_REG_1);
}

void RuleBuilder::Compare(nft_cmp_ops op, const void* data, uint32_t size) {
  nftnl_expr* cmp = Append("cmp");
  nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
  nftnl_expr_set_u32(cmp, NFTNL_EXPR_CMP_OP, op);
  nftnl_expr_set(cmp, NFTNL_EXPR_CMP_DATA, data, size);
}

// Of register 1: (bytes & mask) ^ flip.
void RuleBuilder::Bitwise(const void* mask, const void* flip, uint32_t size) {
  nftnl_expr* bitwise = Append("bitwise");
  nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
  nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
  nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_LEN, size);
  nftnl_expr_set(bitwise, NFTNL_EXPR_BITWISE_MASK, mask, size);
  nftnl_expr_set(bitwise, NFTNL_EXPR_BITWISE_XOR, flip, size);
}

void RuleBuilder::And(const void* mask, uint32_t size) {
  constexpr std::array<uint8_t, NFT_REG_SIZE> kNothing{};
  Bitwise(mask, kNothing.data(), size);
}

void RuleBuilder::LoadPayload(nft_payload_bases base, uint32_t offset, uint32_t size,
                              uint32_t reg) {
  nftnl_expr* payload = Append("payload");
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, base);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, size);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_DREG, reg);
}

RuleBuilder& RuleBuilder::OutputInterfaceIsNot(uint32_t ifindex) {
  LoadMeta(NFT_META_OIF);
  Compare(NFT_CMP_NEQ, &ifindex, sizeof(ifindex));
  return *this;
}

RuleBuilder& RuleBuilder::InputInterfaceIsNot(uint32_t ifindex) {
  LoadMeta(NFT_META_IIF);
  Compare(NFT_CMP_NEQ, &ifindex, sizeof(ifindex));
  return *this;
}

RuleBuilder& RuleBuilder::MarkIs(const core::Mark& mark) {
  LoadMeta(NFT_META_MARK);
  // A full mask needs no expression, which saves time for every packet.
  if (mark.mask != UINT32_MAX) {
    And(&mark.mask, sizeof(mark.mask));
  }
  Compare(NFT_CMP_EQ, &mark.value, sizeof(mark.value));
  return *this;
}

RuleBuilder& RuleBuilder::ProtocolIs(uint8_t protocol) {
  LoadMeta(NFT_META_L4PROTO);
  Compare(NFT_CMP_EQ, &protocol, sizeof(protocol));
  return *this;
}

RuleBuilder& RuleBuilder::ProtocolIsNot(uint8_t protocol) {
  LoadMeta(NFT_META_L4PROTO);
  Compare(NFT_CMP_NEQ, &protocol, sizeof(protocol));
  return *this;
}

RuleBuilder& RuleBuilder::PortHas(Port port, const core::PortBlocks::Prefix& prefix) {
  // Both ports, in network order.
  const bool source = port == Port::kSource;
  const auto place = [source](uint16_t bits) {
    return htonl(source ? uint32_t{bits} << 16 : uint32_t{bits});
  };
  MatchWord(kPortsWord, place(prefix.mask), NFT_CMP_EQ, place(prefix.value));
  return *this;
}

RuleBuilder& RuleBuilder::TcpFlags(uint8_t mask, nft_cmp_ops op, uint8_t value) {
  // The flags are the second byte.
  const auto place = [](uint8_t bits) { return htonl(uint32_t{bits} << 16); };
  MatchWord(kTcpFlagsWord, place(mask), op, place(value));
  return *this;
}

// Compares the four bytes at `offset` of the transport header: the kernel evaluates loads, masks
// and comparisons of four bytes inline (nft_bitwise_fast_ops, nft_cmp_fast_ops).
void RuleBuilder::MatchWord(uint32_t offset, uint32_t mask, nft_cmp_ops op, uint32_t value) {
  LoadPayload(NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof(mask), NFT_REG_1);
  And(&mask, sizeof(mask));
  Compare(op, &value, sizeof(value));
}

void RuleBuilder::MatchFamily(IpFamily family) {
  // Once for each rule, as the nft program does.
  if (family_matched_) return;
  family_matched_ = true;
  const uint8_t nfproto = family == IpFamily::kIpv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
  LoadMeta(NFT_META_NFPROTO);
  Compare(NFT_CMP_EQ, &nfproto, sizeof(nfproto));
}

void RuleBuilder::LoadTuple(IpFamily family, TupleOrder order) {
  const bool ipv4 = family == IpFamily::kIpv4;
  MatchFamily(family);
  struct Part {
    nft_payload_bases base;
    uint32_t offset, size;
  };
  const Part source_address{NFT_PAYLOAD_NETWORK_HEADER, ipv4 ? 12U : 8U, ipv4 ? 4U : 16U};
  const Part destination_address{NFT_PAYLOAD_NETWORK_HEADER, ipv4 ? 16U : 24U, ipv4 ? 4U : 16U};
  const Part source_port{NFT_PAYLOAD_TRANSPORT_HEADER, kSourcePortOffset, kPortSize};
  const Part destination_port{NFT_PAYLOAD_TRANSPORT_HEADER, kDestinationPortOffset, kPortSize};
  const std::array<Part, 4> as_sent{source_address, source_port, destination_address,
                                    destination_port};
  const std::array<Part, 4> reversed{destination_address, destination_port, source_address,
                                     source_port};
  uint32_t word = 0;
  for (const Part& part : order == TupleOrder::kAsSent ? as_sent : reversed) {
    LoadPayload(part.base, part.offset, part.size, RegisterAt(word));
    word += (part.size + NFT_REG32_SIZE - 1) / NFT_REG32_SIZE;
  }
}

RuleBuilder& RuleBuilder::Lookup(absl::string_view set, uint32_t flags) {
  nftnl_expr* lookup = Append("lookup");
  nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
  nftnl_expr_set_str(lookup, NFTNL_EXPR_LOOKUP_SET, std::string(set).c_str());
  // Also if 0: the kernel lists the attribute, and rules are compared.
  nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_FLAGS, flags);
  return *this;
}

RuleBuilder& RuleBuilder::TupleIn(IpFamily family, TupleOrder order, absl::string_view set) {
  LoadTuple(family, order);
  return Lookup(set, 0);
}

void RuleBuilder::LoadPort(Port port) {
  LoadPayload(NFT_PAYLOAD_TRANSPORT_HEADER,
              port == Port::kSource ? kSourcePortOffset : kDestinationPortOffset, kPortSize,
              NFT_REG_1);
}

RuleBuilder& RuleBuilder::SourcePortNotIn(absl::string_view set) {
  LoadPort(Port::kSource);
  return Lookup(set, NFT_LOOKUP_F_INV);
}

RuleBuilder& RuleBuilder::DestinationPortIn(absl::string_view set) {
  LoadPort(Port::kDestination);
  return Lookup(set, 0);
}

RuleBuilder& RuleBuilder::DestinationIn(IpFamily family, absl::string_view set) {
  const bool ipv4 = family == IpFamily::kIpv4;
  const uint32_t size = ipv4 ? sizeof(in_addr) : sizeof(in6_addr);
  MatchFamily(family);
  LoadPayload(NFT_PAYLOAD_NETWORK_HEADER, ipv4 ? kIpv4DestinationOffset : kIpv6DestinationOffset,
              size, RegisterAt(0));
  LoadPayload(NFT_PAYLOAD_TRANSPORT_HEADER, kDestinationPortOffset, kPortSize,
              RegisterAt(size / NFT_REG32_SIZE));
  return Lookup(set, 0);
}

RuleBuilder& RuleBuilder::DestinationIsLoopback4() {
  MatchFamily(IpFamily::kIpv4);
  // The first byte is the whole prefix.
  const uint8_t net = 127;
  LoadPayload(NFT_PAYLOAD_NETWORK_HEADER, kIpv4DestinationOffset, sizeof(net), NFT_REG_1);
  Compare(NFT_CMP_EQ, &net, sizeof(net));
  return *this;
}

RuleBuilder& RuleBuilder::IsUntracked() {
  HasConntrackBit(NFT_CT_STATE, NF_CT_STATE_UNTRACKED_BIT);
  return *this;
}

RuleBuilder& RuleBuilder::IsOriginalDirection() {
  constexpr uint8_t kOriginal = 0;  // IP_CT_DIR_ORIGINAL
  LoadConntrack(NFT_CT_DIRECTION);
  Compare(NFT_CMP_EQ, &kOriginal, sizeof(kOriginal));
  return *this;
}

RuleBuilder& RuleBuilder::HasDestinationNat() {
  HasConntrackBit(NFT_CT_STATUS, IPS_DST_NAT);
  return *this;
}

RuleBuilder& RuleBuilder::SetMark(const core::Mark& mark) {
  const uint32_t others = ~mark.mask;
  LoadMeta(NFT_META_MARK);
  Bitwise(&others, &mark.value, sizeof(others));
  nftnl_expr* meta = Append("meta");
  nftnl_expr_set_u32(meta, NFTNL_EXPR_META_KEY, NFT_META_MARK);
  nftnl_expr_set_u32(meta, NFTNL_EXPR_META_SREG, NFT_REG_1);
  return *this;
}

RuleBuilder& RuleBuilder::FlipDestination(IpFamily family, uint8_t first_byte) {
  const bool ipv4 = family == IpFamily::kIpv4;
  const uint32_t offset = ipv4 ? kIpv4DestinationOffset : kIpv6DestinationOffset;
  const uint32_t size = ipv4 ? sizeof(in_addr) : sizeof(in6_addr);
  std::array<uint8_t, sizeof(in6_addr)> all{};
  all.fill(0xff);
  const std::array<uint8_t, sizeof(in6_addr)> flip{first_byte};
  MatchFamily(family);
  LoadPayload(NFT_PAYLOAD_NETWORK_HEADER, offset, size, NFT_REG_1);
  Bitwise(all.data(), flip.data(), size);
  nftnl_expr* payload = Append("payload");
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_SREG, NFT_REG_1);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, size);
  // IPv6 has no checksum of its own.
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_CSUM_TYPE,
                     ipv4 ? NFT_PAYLOAD_CSUM_INET : NFT_PAYLOAD_CSUM_NONE);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_CSUM_OFFSET, ipv4 ? kIpv4ChecksumOffset : 0);
  // The checksums of TCP and UDP cover the addresses.
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_FLAGS, NFT_PAYLOAD_L4CSUM_PSEUDOHDR);
  return *this;
}

RuleBuilder& RuleBuilder::DynamicSet(nft_dynset_ops op, absl::string_view set,
                                     absl::Duration timeout) {
  nftnl_expr* dynset = Append("dynset");
  nftnl_expr_set_u32(dynset, NFTNL_EXPR_DYNSET_SREG_KEY, NFT_REG_1);
  nftnl_expr_set_str(dynset, NFTNL_EXPR_DYNSET_SET_NAME, std::string(set).c_str());
  nftnl_expr_set_u32(dynset, NFTNL_EXPR_DYNSET_OP, op);
  nftnl_expr_set_u64(dynset, NFTNL_EXPR_DYNSET_TIMEOUT,
                     static_cast<uint64_t>(absl::ToInt64Milliseconds(timeout)));
  return *this;
}

RuleBuilder& RuleBuilder::AddTuple(IpFamily family, TupleOrder order, absl::string_view set,
                                   absl::Duration timeout) {
  LoadTuple(family, order);
  return DynamicSet(NFT_DYNSET_OP_ADD, set, timeout);
}

RuleBuilder& RuleBuilder::UpdateTuple(IpFamily family, TupleOrder order, absl::string_view set,
                                      absl::Duration timeout) {
  LoadTuple(family, order);
  return DynamicSet(NFT_DYNSET_OP_UPDATE, set, timeout);
}

RuleBuilder& RuleBuilder::Count(absl::string_view counter) {
  nftnl_expr* reference = Append("objref");
  nftnl_expr_set_u32(reference, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
  nftnl_expr_set_str(reference, NFTNL_EXPR_OBJREF_IMM_NAME, std::string(counter).c_str());
  return *this;
}

RuleBuilder& RuleBuilder::NoTrack() {
  Append("notrack");
  return *this;
}

void RuleBuilder::Verdict(int verdict, absl::string_view chain) {
  nftnl_expr* immediate = Append("immediate");
  nftnl_expr_set_u32(immediate, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
  nftnl_expr_set_u32(immediate, NFTNL_EXPR_IMM_VERDICT, static_cast<uint32_t>(verdict));
  if (!chain.empty()) {
    nftnl_expr_set_str(immediate, NFTNL_EXPR_IMM_CHAIN, std::string(chain).c_str());
  }
}

RuleBuilder& RuleBuilder::Goto(absl::string_view chain) {
  Verdict(NFT_GOTO, chain);
  return *this;
}

RuleBuilder& RuleBuilder::Jump(absl::string_view chain) {
  Verdict(NFT_JUMP, chain);
  return *this;
}

RuleBuilder& RuleBuilder::Accept() {
  Verdict(NF_ACCEPT, "");
  return *this;
}

RuleBuilder& RuleBuilder::Drop() {
  Verdict(NF_DROP, "");
  return *this;
}

}  // namespace npg::dataplane
