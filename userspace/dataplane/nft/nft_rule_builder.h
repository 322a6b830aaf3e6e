// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_RULE_BUILDER_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_RULE_BUILDER_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/nft_objects.h"
#include "core/mark.h"
#include "core/port_blocks.h"

namespace npg::dataplane {

// The order in which a connection's tuple is read from a packet.
enum class TupleOrder {
  kAsSent,    // source address, source port, destination address, destination port
  kReversed,  // as a packet of the other direction would have them
};

enum class IpFamily { kIpv4, kIpv6 };

enum class Port { kSource, kDestination };

// Builds one rule of the table, statement by statement, in terms of the nft language:
// each function appends the expressions that the nft program makes for the same text, so
// that `nft list table` prints it as written here. Except for ports and TCP flags that every
// packet is tested for: the kernel evaluates a mask only of four bytes without a function call.
class RuleBuilder {
 public:
  // `comment` is shown by `nft list`; may be empty.
  explicit RuleBuilder(absl::string_view chain, absl::string_view comment = "");

  // Matches. The rule ends at the first that fails. All matches and statements of a rule that name
  // an address family must name the same one.
  RuleBuilder& OutputInterfaceIsNot(uint32_t ifindex);
  RuleBuilder& InputInterfaceIsNot(uint32_t ifindex);
  RuleBuilder& MarkIs(const core::Mark& mark);
  RuleBuilder& ProtocolIs(uint8_t protocol);
  RuleBuilder& ProtocolIsNot(uint8_t protocol);
  // Of packets of TCP, UDP and others with ports: the port has the prefix's bits.
  RuleBuilder& PortHas(Port port, const core::PortBlocks::Prefix& prefix);
  // Of packets of TCP only, which the rule does not check: (flags & mask) == 0, or != 0.
  RuleBuilder& NoTcpFlagOf(uint8_t mask) { return TcpFlags(mask, NFT_CMP_EQ, 0); }
  RuleBuilder& AnyTcpFlagOf(uint8_t mask) { return TcpFlags(mask, NFT_CMP_NEQ, 0); }
  RuleBuilder& TcpFlagsAre(uint8_t mask, uint8_t value) {
    return TcpFlags(mask, NFT_CMP_EQ, value);
  }
  // The packet's tuple is in `set`.
  RuleBuilder& TupleIn(IpFamily family, TupleOrder order, absl::string_view set);

  RuleBuilder& SourcePortNotIn(absl::string_view set);
  RuleBuilder& DestinationPortIn(absl::string_view set);
  // The packet's destination address and port are in `set`.
  RuleBuilder& DestinationIn(IpFamily family, absl::string_view set);
  // IPv4, to 127.0.0.0/8.
  RuleBuilder& DestinationIsLoopback4();
  // A rule has applied `notrack`.
  RuleBuilder& IsUntracked();
  // Of conntrack, which these two need: the packet has the direction of the flow's first one. Fails
  // for untracked packets.
  RuleBuilder& IsOriginalDirection();
  // NAT has given the flow another destination. Fails for untracked packets.
  RuleBuilder& HasDestinationNat();

  // Statements. Adding a tuple to a full set ends the rule.
  RuleBuilder& AddTuple(IpFamily family, TupleOrder order, absl::string_view set,
                        absl::Duration timeout);
  RuleBuilder& UpdateTuple(IpFamily family, TupleOrder order, absl::string_view set,
                           absl::Duration timeout);
  RuleBuilder& Count(absl::string_view counter);
  RuleBuilder& NoTrack();
  // Sets the mark's bits, and keeps the others.
  RuleBuilder& SetMark(const core::Mark& mark);
  // Inverts the bits of `first_byte` in the first byte of the destination, for packets of
  // that family, and updates the checksums. A second call restores the address.
  RuleBuilder& FlipDestination(IpFamily family, uint8_t first_byte);

  // Continue in another chain. Jump returns at the end of that chain (or of one that it
  // goes to), Goto does not.
  RuleBuilder& Jump(absl::string_view chain);
  RuleBuilder& Goto(absl::string_view chain);
  RuleBuilder& Accept();
  RuleBuilder& Drop();

  base::NftnlRule Build();

 private:
  nftnl_expr* Append(const char* name);
  void LoadMeta(uint32_t key);
  void LoadConntrack(uint32_t key);
  // Matches if the conntrack value `key` has `bit`.
  void HasConntrackBit(uint32_t key, uint32_t bit);
  void Compare(nft_cmp_ops op, const void* data, uint32_t size);
  void And(const void* mask, uint32_t size);
  void Bitwise(const void* mask, const void* flip, uint32_t size);
  void LoadPayload(nft_payload_bases base, uint32_t offset, uint32_t size, uint32_t reg);
  void MatchWord(uint32_t offset, uint32_t mask, nft_cmp_ops op, uint32_t value);
  void LoadPort(Port port);
  RuleBuilder& Lookup(absl::string_view set, uint32_t flags);
  void MatchFamily(IpFamily family);
  void LoadTuple(IpFamily family, TupleOrder order);
  RuleBuilder& TcpFlags(uint8_t mask, nft_cmp_ops op, uint8_t value);
  RuleBuilder& DynamicSet(nft_dynset_ops op, absl::string_view set, absl::Duration timeout);
  void Verdict(int verdict, absl::string_view chain);

  base::NftnlRule rule_;
  bool family_matched_ = false;  // the rule has the match for its address family
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_RULE_BUILDER_H_
