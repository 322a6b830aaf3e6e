// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_rules.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/nft_objects.h"
#include "core/mark.h"
#include "dataplane/nft/nft_rule_builder.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {
namespace {

constexpr uint32_t kLoopbackIfindex = 1;  // in every network namespace

// 127.0.0.1 becomes 111.0.0.1, and ::1 becomes 1000::1. No address that a node normally has
// becomes a multicast one, and IPVS has no service of the node at the results.
constexpr uint8_t kBypassBits = 0x10;

// The facts of one address family that the rules below need.
struct Family {
  IpFamily ip;
  absl::string_view tcp, half, udp, datagrams, asked, targets;
};
constexpr std::array<Family, 2> kFamilies{{
    {IpFamily::kIpv4, "tcp4", "half4", "udp4", "datagrams4", "asked4", "targets4"},
    {IpFamily::kIpv6, "tcp6", "half6", "udp6", "datagrams6", "asked6", "targets6"},
}};
constexpr std::array<TupleOrder, 2> kBothDirections{TupleOrder::kAsSent, TupleOrder::kReversed};
constexpr std::array<Port, 2> kBothPorts{Port::kSource, Port::kDestination};

// Gives the entry of the packet's tuple less time, and adds none. (`delete` would leak room:
// kernels before 6.5 do not subtract what a rule deletes from the number of elements.)
base::NftnlRule Shorten(absl::string_view chain, IpFamily family, TupleOrder order,
                        absl::string_view set, absl::Duration timeout) {
  return RuleBuilder(chain)
      .TupleIn(family, order, set)
      .UpdateTuple(family, order, set, timeout)
      .Build();
}

// For all entries of the packet's connection. In both orders: the packet may be of either side,
// a FIN too, and earlier builds entered both directions of a connection.
void AppendShortening(NftChain& chain, absl::Duration timeout) {
  for (const Family& family : kFamilies) {
    for (const absl::string_view set : {family.tcp, family.half}) {
      for (const TupleOrder order : kBothDirections) {
        chain.rules.push_back(Shorten(chain.name, family.ip, order, set, timeout));
      }
    }
  }
}

// Processes every packet that leaves a socket of this host. Unrelated packets must leave
// the chain after as few expressions as possible: those to other hosts after the first
// rule, loopback ones after one lookup of two bytes (UDP: two), in both address families.
// (Looking up the tuple directly costs twice as much: four loads, a key of 16 or 40
// bytes, and matches that select the set.)
NftChain Output(const core::Mark& mark, const std::optional<core::Mark>& former) {
  NftChain chain{std::string(kHookChain), {}, kOutputHook};
  auto& rules = chain.rules;
  rules.push_back(RuleBuilder(kHookChain).OutputInterfaceIsNot(kLoopbackIfindex).Accept().Build());
  // Chain `exempt` accepts marked packets of other protocols unchanged.
  rules.push_back(
      RuleBuilder(kHookChain, "set by the guard at connect()").MarkIs(mark).Goto("exempt").Build());
  if (former) {
    rules.push_back(RuleBuilder(kHookChain, "set by the guard of an earlier run")
                        .MarkIs(*former)
                        .Goto("exempt")
                        .Build());
  }
  // Goto does not return, so no packet reaches the rules of another protocol. UDP comes
  // first, because a datagram may be exempt by its destination.
  rules.push_back(RuleBuilder(kHookChain).ProtocolIs(IPPROTO_UDP).Goto("unmarked_udp").Build());
  rules.push_back(RuleBuilder(kHookChain, "no exempt flow has this port")
                      .SourcePortNotIn(kPortsSet.name)
                      .Accept()
                      .Build());
  rules.push_back(RuleBuilder(kHookChain).ProtocolIs(IPPROTO_TCP).Goto("unmarked_tcp").Build());
  return chain;
}

// Packets of sockets that the connect program has marked.
NftChain Exempt() {
  NftChain chain{"exempt", {}};
  chain.rules.push_back(RuleBuilder(chain.name).ProtocolIs(IPPROTO_TCP).Goto("exempt_tcp").Build());
  chain.rules.push_back(RuleBuilder(chain.name).ProtocolIs(IPPROTO_UDP).Goto("exempt_udp").Build());
  return chain;
}

NftChain ExemptTcp() {
  NftChain chain{"exempt_tcp", {}};
  auto& rules = chain.rules;
  // A separate rule, before any that can fail: adding a tuple to a full set ends the
  // rule, and must not end the exemption. NAT and `ctstate NEW` rules match conntrack
  // state, which an untracked packet does not have.
  rules.push_back(RuleBuilder(chain.name).Count(kExemptedCounter).NoTrack().Build());
  rules.push_back(RuleBuilder(chain.name)
                      .NoTcpFlagOf(TH_FIN | TH_SYN | TH_RST)
                      .Goto("tcp_established")
                      .Build());
  rules.push_back(
      RuleBuilder(chain.name).AnyTcpFlagOf(TH_FIN | TH_RST).Goto("tcp_closing").Build());
  // A SYN begins a flow. Replies carry no mark, so their tuple is added; a client that sets
  // its own SO_MARK after connect() loses ours, and is found by the reversed tuple. The tuple
  // may be that of a connection that has just ended (4-tuple reuse): `update` gives its
  // expiring entry the full time again, and the FIN of that connection expires. The ports
  // come first: a tuple is looked up only if its source port is in their set.
  for (const Port port : kBothPorts) {
    rules.push_back(RuleBuilder(chain.name).UpdatePort(port, kPortsSet.name, kTcpTimeout).Build());
  }
  for (const Family& family : kFamilies) {
    rules.push_back(RuleBuilder(chain.name)
                        .UpdateTuple(family.ip, TupleOrder::kReversed, family.tcp, kTcpTimeout)
                        .Build());
    for (const TupleOrder order : kBothDirections) {
      rules.push_back(Shorten(chain.name, family.ip, order, family.half, kForgottenTimeout));
    }
  }
  return chain;
}

// Marked, with data or a bare ACK. The entry usually exists; this adds it if the set was
// full at the SYN, or if the table was removed and restored. `add` keeps the time of an
// existing entry: the ACK of the last FIN must not extend an expiring one.
NftChain TcpEstablished() {
  NftChain chain{"tcp_established", {}};
  for (const Port port : kBothPorts) {
    chain.rules.push_back(
        RuleBuilder(chain.name).AddPort(port, kPortsSet.name, kTcpTimeout).Build());
  }
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(chain.name)
                              .AddTuple(family.ip, TupleOrder::kReversed, family.tcp, kTcpTimeout)
                              .Build());
  }
  return chain;
}

// Matches exact tuples, so that only replies (and clients that lost the mark) are exempt.
// Replies first: nearly all unmarked packets of exempt connections are replies.
NftChain UnmarkedTcp() {
  NftChain chain{"unmarked_tcp", {}};
  for (const TupleOrder order : kBothDirections) {
    const absl::string_view comment = order == TupleOrder::kAsSent
                                          ? "replies of exempt connections"
                                          : "clients that changed their mark";
    for (const Family& family : kFamilies) {
      chain.rules.push_back(RuleBuilder(chain.name, comment)
                                .TupleIn(family.ip, order, family.tcp)
                                .Goto("tcp_flow")
                                .Build());
    }
  }
  return chain;
}

NftChain TcpFlow() {
  NftChain chain{"tcp_flow", {}};
  // An unmarked SYN is a new connect that was not exempted, from the client port of a
  // recent exempt one: it must reach the Service.
  chain.rules.push_back(
      RuleBuilder(chain.name, "a new connection that is not exempt, on a reused tuple")
          .TcpFlagsAre(TH_SYN | TH_ACK, TH_SYN)
          .Goto("tcp_forget")
          .Build());
  chain.rules.push_back(RuleBuilder(chain.name).NoTrack().Build());
  chain.rules.push_back(
      RuleBuilder(chain.name).AnyTcpFlagOf(TH_FIN | TH_RST).Goto("tcp_closing").Build());
  return chain;
}

// Lets the entries expire and drops the SYN, which the client repeats after a second: it and
// the packets after it are then tracked. If this SYN were tracked, the packets after it, a few
// microseconds later, would still find the entries and be untracked.
NftChain TcpForget() {
  NftChain chain{"tcp_forget", {}};
  AppendShortening(chain, kForgottenTimeout);
  chain.rules.push_back(RuleBuilder(chain.name).Drop().Build());
  return chain;
}

// FIN or RST, of either side. A half-closed connection may last for days, so the first FIN
// is only recorded; the FIN of the other direction ends the flow. A retransmitted FIN has
// the same direction as the first, and `add` does not extend the expiring entry of an ended
// connection. Without an entry of the connection (its set was full), the FIN of the other
// direction would not come here, and that of this one would stay.
NftChain TcpClosing() {
  NftChain chain{"tcp_closing", {}};
  auto& rules = chain.rules;
  const auto end_if_the_other_has_ended = [&] {
    for (const Family& family : kFamilies) {
      rules.push_back(RuleBuilder(chain.name, "the other direction has ended already")
                          .TupleIn(family.ip, TupleOrder::kReversed, family.half)
                          .Goto("tcp_closed")
                          .Build());
    }
  };
  rules.push_back(RuleBuilder(chain.name).AnyTcpFlagOf(TH_RST).Goto("tcp_closed").Build());
  end_if_the_other_has_ended();
  for (const Family& family : kFamilies) {
    for (const TupleOrder order : kBothDirections) {
      rules.push_back(RuleBuilder(chain.name)
                          .TupleIn(family.ip, order, family.tcp)
                          .AddTuple(family.ip, TupleOrder::kAsSent, family.half, kTcpTimeout)
                          .Build());
    }
  }
  // Once more: both sides may send their FIN at the same time, on two processors.
  end_if_the_other_has_ended();
  return chain;
}

// Shortens the entries' time instead of removing them: the last ACK, a retransmission and
// the answer to it must still be untracked. Also in the half-closed set: a retransmitted
// FIN must find that of the other direction.
NftChain TcpClosed() {
  NftChain chain{"tcp_closed", {}};
  AppendShortening(chain, kClosedTimeout);
  return chain;
}

// As with TCP, except that any packet may be the first, and that unmarked packets are not
// looked up in the client's direction. A UDP socket keeps its port when it connects again: it
// would stay exempt after a second connect that is not.
NftChain ExemptUdp() {
  NftChain chain{"exempt_udp", {}};
  chain.rules.push_back(RuleBuilder(chain.name).Count(kExemptedCounter).NoTrack().Build());
  chain.rules.push_back(
      RuleBuilder(chain.name).AddPort(Port::kDestination, kPortsSet.name, kTcpTimeout).Build());
  for (const Family& family : kFamilies) {
    chain.rules.push_back(
        RuleBuilder(chain.name)
            .UpdateTuple(family.ip, TupleOrder::kReversed, family.udp, kUdpTimeout)
            .Build());
  }
  return chain;
}

NftChain UnmarkedUdp() {
  NftChain chain{"unmarked_udp", {}};
  chain.rules.push_back(RuleBuilder(chain.name, "a guarded listener may have this port")
                            .DestinationPortIn("target_ports")
                            .Jump("datagram")
                            .Build());
  chain.rules.push_back(RuleBuilder(chain.name, "no exempt flow has this port")
                            .SourcePortNotIn(kPortsSet.name)
                            .Accept()
                            .Build());
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(chain.name, "replies of exempt flows")
                              .TupleIn(family.ip, TupleOrder::kAsSent, family.udp)
                              .Goto("udp_reply")
                              .Build());
  }
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(chain.name, "replies to exempt datagrams")
                              .TupleIn(family.ip, TupleOrder::kAsSent, family.datagrams)
                              .Goto("datagram_reply")
                              .Build());
  }
  return chain;
}

// From a socket that is not connected (or was connected before the port became a
// NodePort): no program ran for this destination, so its address and port decide.
NftChain Datagram() {
  NftChain chain{"datagram", {}};
  // Before the targets: without conntrack, the listener would get the answer from the endpoint's
  // address, not from that of the Service which it asked. Each answer renews the entry.
  for (const Family& family : kFamilies) {
    chain.rules.push_back(
        RuleBuilder(chain.name, "the answer to a listener that asked a Service")
            .TupleIn(family.ip, TupleOrder::kAsSent, family.asked)
            .UpdateTuple(family.ip, TupleOrder::kAsSent, family.asked, kDatagramTimeout)
            .Accept()
            .Build());
  }
  chain.rules.push_back(RuleBuilder(chain.name)
                            .DestinationIsLoopback4()
                            .DestinationPortIn("targets_any4")
                            .Goto("exempt_datagram")
                            .Build());
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(chain.name)
                              .DestinationIn(family.ip, family.targets)
                              .Goto("exempt_datagram")
                              .Build());
  }
  return chain;
}

NftChain ExemptDatagram() {
  NftChain chain{"exempt_datagram", {}};
  chain.rules.push_back(RuleBuilder(chain.name).Count(kExemptedCounter).NoTrack().Build());
  chain.rules.push_back(
      RuleBuilder(chain.name).AddPort(Port::kDestination, kPortsSet.name, kTcpTimeout).Build());
  for (const Family& family : kFamilies) {
    chain.rules.push_back(
        RuleBuilder(chain.name)
            .UpdateTuple(family.ip, TupleOrder::kReversed, family.datagrams, kDatagramTimeout)
            .Build());
  }
  // Without this, the packet would return to the calling chain.
  chain.rules.push_back(RuleBuilder(chain.name).Accept().Build());
  return chain;
}

NftChain DatagramReply() {
  NftChain chain{"datagram_reply", {}};
  chain.rules.push_back(RuleBuilder(chain.name).NoTrack().Build());
  for (const Family& family : kFamilies) {
    chain.rules.push_back(
        RuleBuilder(chain.name)
            .UpdateTuple(family.ip, TupleOrder::kAsSent, family.datagrams, kDatagramTimeout)
            .Build());
  }
  return chain;
}

// UDP flows have no first or last packet: each one, of either side, gives the entry the
// full time again.
NftChain UdpReply() {
  NftChain chain{"udp_reply", {}};
  chain.rules.push_back(RuleBuilder(chain.name).NoTrack().Build());
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(chain.name)
                              .UpdateTuple(family.ip, TupleOrder::kAsSent, family.udp, kUdpTimeout)
                              .Build());
  }
  return chain;
}

// What a target listener sends on its own, from its own socket, to a Service whose endpoint is
// reached over lo. The answer has the listener as its destination, as a datagram of a client has:
// its tuple, which is known here, makes the difference. Only packets of the direction that began
// the flow: an answer of the listener to a client that came through a Service has a translated
// conntrack entry, too, and further datagrams of that client must be exempt. Untracked packets have
// no entry and match nothing.
NftChain Asked() {
  NftChain chain{std::string(kAskedChain), {}, kAskedHook};
  auto& rules = chain.rules;
  rules.push_back(RuleBuilder(kAskedChain).OutputInterfaceIsNot(kLoopbackIfindex).Accept().Build());
  rules.push_back(RuleBuilder(kAskedChain).ProtocolIsNot(IPPROTO_UDP).Accept().Build());
  rules.push_back(RuleBuilder(kAskedChain, "no guarded listener has this port")
                      .SourcePortNotIn("target_ports")
                      .Accept()
                      .Build());
  for (const Family& family : kFamilies) {
    rules.push_back(
        RuleBuilder(kAskedChain, "to the endpoint of a Service")
            .IsOriginalDirection()
            .HasDestinationNat()
            .UpdateTuple(family.ip, TupleOrder::kReversed, family.asked, kDatagramTimeout)
            .Build());
  }
  return chain;
}

// IPVS schedules a packet by its destination alone, also an untracked one. Between this
// hook and the last of IPVS, exempt packets have a destination without an IPVS service;
// both ends see the original addresses. (The packets are routed before the first hook, and
// not again when lo receives them.) Replies, too: the client's port may be that of an IPVS
// service. A packet that is untracked this early, before the raw table, was untracked by
// the chains above. The mark identifies the packets for the other chain.
NftChain Bypass(const core::Mark& mark) {
  NftChain chain{std::string(kBypassChain), {}, kBypassHook};
  chain.rules.push_back(
      RuleBuilder(kBypassChain).OutputInterfaceIsNot(kLoopbackIfindex).Accept().Build());
  chain.rules.push_back(RuleBuilder(kBypassChain).IsUntracked().SetMark(mark).Build());
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(kBypassChain, "to where IPVS has no service")
                              .IsUntracked()
                              .FlipDestination(family.ip, kBypassBits)
                              .Build());
  }
  return chain;
}

NftChain BypassBack(const core::Mark& mark) {
  NftChain chain{std::string(kBypassBackChain), {}, kBypassBackHook};
  chain.rules.push_back(
      RuleBuilder(kBypassBackChain).InputInterfaceIsNot(kLoopbackIfindex).Accept().Build());
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(kBypassBackChain, "as it was sent")
                              .MarkIs(mark)
                              .IsUntracked()
                              .FlipDestination(family.ip, kBypassBits)
                              .Build());
  }
  return chain;
}

}  // namespace

uint32_t NftSetSpec::key_type() const {
  // The nft program's numbers of data types, which the kernel only stores. A concatenation
  // has the numbers of its parts, six bits each.
  constexpr uint32_t kIpv4Address = 7, kIpv6Address = 8, kInetService = 13, kTypeBits = 6;
  if (has_ports_only()) return kInetService;
  const uint32_t address = family == IpFamily::kIpv4 ? kIpv4Address : kIpv6Address;
  const uint32_t half = address << kTypeBits | kInetService;
  if (use == NftSetUse::kTargets) return half;
  return half << (2 * kTypeBits) | half;
}

uint32_t NftSetSpec::key_length() const {
  if (has_ports_only()) return sizeof(in_port_t);
  // Each part of a concatenation is padded to 32 bits.
  constexpr uint32_t kPort = 4;
  const auto address =
      static_cast<uint32_t>(family == IpFamily::kIpv4 ? sizeof(in_addr) : sizeof(in6_addr));
  return (use == NftSetUse::kTargets ? 1 : 2) * (address + kPort);
}

std::vector<NftChain> MakeChains(const core::Mark& mark, const std::optional<core::Mark>& former,
                                 const NftExtraChains& extra) {
  std::vector<NftChain> chains;
  chains.push_back(Output(mark, former));
  chains.push_back(Exempt());
  chains.push_back(ExemptTcp());
  chains.push_back(TcpEstablished());
  chains.push_back(UnmarkedTcp());
  chains.push_back(TcpFlow());
  chains.push_back(TcpForget());
  chains.push_back(TcpClosing());
  chains.push_back(TcpClosed());
  chains.push_back(ExemptUdp());
  chains.push_back(UnmarkedUdp());
  chains.push_back(UdpReply());
  chains.push_back(Datagram());
  chains.push_back(ExemptDatagram());
  chains.push_back(DatagramReply());
  if (extra.asked) chains.push_back(Asked());
  if (extra.ipvs_bypass) {
    chains.push_back(Bypass(mark));
    chains.push_back(BypassBack(mark));
  }
  return chains;
}

std::string RuleText(const nftnl_rule& rule) {
  std::string text;
  nftnl_expr_foreach(
      const_cast<nftnl_rule*>(&rule),
      [](nftnl_expr* expression, void* data) {
        std::array<char, 512> line{};
        nftnl_expr_snprintf(line.data(), line.size(), expression, NFTNL_OUTPUT_DEFAULT, 0);
        absl::StrAppend(static_cast<std::string*>(data),
                        nftnl_expr_get_str(expression, NFTNL_EXPR_NAME), " ", line.data(), "\n");
        return 0;
      },
      &text);
  return text;
}

}  // namespace npg::dataplane
