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
#include "core/port_blocks.h"
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

// A rule for each prefix, or one without a condition for all ports.
void AppendForPorts(NftChain& chain, Port port, const core::PortBlocks& blocks,
                    absl::string_view comment, absl::string_view next) {
  for (const core::PortBlocks::Prefix& prefix : blocks.Prefixes()) {
    RuleBuilder rule(chain.name, comment);
    if (prefix.mask != 0) rule.PortHas(port, prefix);
    chain.rules.push_back(rule.Goto(next).Build());
  }
}

// Processes every packet that leaves a socket of this host. Unrelated packets must leave the chain
// after as few and as cheap expressions as possible. A packet of an exempt flow has a NodePort, or
// one that was a NodePort when the flow began, as source or destination. So nearly all others are
// told apart by their ports alone, with expressions that the kernel evaluates inline. (A lookup
// costs ten times as much.)
NftChain Output(const core::PortBlocks& blocks) {
  NftChain chain{std::string(kHookChain), {}, kOutputHook};
  AppendForPorts(chain, Port::kDestination, blocks, "to a port among NodePorts", "to_node_port");
  // Where that rule has no condition, no packet would get to this one.
  if (!blocks.NeedAllPorts()) {
    AppendForPorts(chain, Port::kSource, blocks, "from a port among NodePorts", "from_node_port");
  }
  return chain;
}

// Goto does not return, so no packet reaches the rules of another protocol.
NftChain ToNodePort() {
  NftChain chain{"to_node_port", {}};
  auto& rules = chain.rules;
  rules.push_back(RuleBuilder(chain.name).OutputInterfaceIsNot(kLoopbackIfindex).Accept().Build());
  rules.push_back(RuleBuilder(chain.name).ProtocolIs(IPPROTO_TCP).Goto("to_tcp").Build());
  rules.push_back(RuleBuilder(chain.name).ProtocolIs(IPPROTO_UDP).Goto("to_udp").Build());
  return chain;
}

NftChain FromNodePort() {
  NftChain chain{"from_node_port", {}};
  auto& rules = chain.rules;
  rules.push_back(RuleBuilder(chain.name).OutputInterfaceIsNot(kLoopbackIfindex).Accept().Build());
  rules.push_back(RuleBuilder(chain.name).ProtocolIs(IPPROTO_TCP).Goto("tcp_replies").Build());
  rules.push_back(RuleBuilder(chain.name).ProtocolIs(IPPROTO_UDP).Goto("udp_replies").Build());
  return chain;
}

// The marks that connect programs set, or have set.
struct Marks {
  core::Mark now;
  std::optional<core::Mark> former;
};

void AppendMarked(NftChain& chain, const Marks& marks, absl::string_view next) {
  chain.rules.push_back(RuleBuilder(chain.name, "set by the guard at connect()")
                            .MarkIs(marks.now)
                            .Goto(next)
                            .Build());
  if (!marks.former) return;
  chain.rules.push_back(RuleBuilder(chain.name, "set by the guard of an earlier run")
                            .MarkIs(*marks.former)
                            .Goto(next)
                            .Build());
}

// Matches exact tuples, so that only clients that lost the mark are exempt. The last rules are for
// a client whose own port is among the NodePorts, too: the packet may be a reply to it.
NftChain ToTcp(const Marks& marks, const core::PortBlocks& blocks) {
  NftChain chain{"to_tcp", {}};
  AppendMarked(chain, marks, "exempt_tcp");
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(chain.name, "clients that changed their mark")
                              .TupleIn(family.ip, TupleOrder::kReversed, family.tcp)
                              .Goto("tcp_flow")
                              .Build());
  }
  AppendForPorts(chain, Port::kSource, blocks, "", "tcp_replies");
  return chain;
}

NftChain TcpReplies() {
  NftChain chain{"tcp_replies", {}};
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(chain.name, "replies of exempt connections")
                              .TupleIn(family.ip, TupleOrder::kAsSent, family.tcp)
                              .Goto("tcp_flow")
                              .Build());
  }
  return chain;
}

// Packets of sockets that the connect program has marked.
NftChain ExemptTcp() {
  NftChain chain{"exempt_tcp", {}};
  auto& rules = chain.rules;
  // A separate rule, before any that can fail: adding a tuple to a full set ends the
  // rule, and must not end the exemption. NAT and `ctstate NEW` rules match conntrack
  // state, which an untracked packet does not have.
  rules.push_back(RuleBuilder(chain.name).Count(kExemptedCounter).NoTrack().Build());
  rules.push_back(RuleBuilder(chain.name, "data and bare ACKs: no FIN, SYN or RST")
                      .NoTcpFlagOf(TH_FIN | TH_SYN | TH_RST)
                      .Goto("tcp_established")
                      .Build());
  rules.push_back(RuleBuilder(chain.name, "FIN or RST")
                      .AnyTcpFlagOf(TH_FIN | TH_RST)
                      .Goto("tcp_closing")
                      .Build());
  // A SYN begins a flow. Replies carry no mark, so their tuple is added; a client that sets
  // its own SO_MARK after connect() loses ours, and is found by the reversed tuple. The tuple
  // may be that of a connection that has just ended (4-tuple reuse): `update` gives its
  // expiring entry the full time again, and the FIN of that connection expires.
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
  for (const Family& family : kFamilies) {
    chain.rules.push_back(RuleBuilder(chain.name)
                              .AddTuple(family.ip, TupleOrder::kReversed, family.tcp, kTcpTimeout)
                              .Accept()
                              .Build());
  }
  return chain;
}

NftChain TcpFlow() {
  NftChain chain{"tcp_flow", {}};
  auto& rules = chain.rules;
  rules.push_back(RuleBuilder(chain.name, "data and bare ACKs: no FIN, SYN or RST")
                      .NoTcpFlagOf(TH_FIN | TH_SYN | TH_RST)
                      .NoTrack()
                      .Accept()
                      .Build());
  // An unmarked SYN is a new connect that was not exempted, from the client port of a
  // recent exempt one: it must reach the Service.
  rules.push_back(RuleBuilder(chain.name, "SYN: a new connection, not exempt, on a reused tuple")
                      .TcpFlagsAre(TH_SYN | TH_ACK, TH_SYN)
                      .Goto("tcp_forget")
                      .Build());
  rules.push_back(RuleBuilder(chain.name).NoTrack().Build());
  rules.push_back(RuleBuilder(chain.name, "FIN or RST")
                      .AnyTcpFlagOf(TH_FIN | TH_RST)
                      .Goto("tcp_closing")
                      .Build());
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
  rules.push_back(RuleBuilder(chain.name, "RST").AnyTcpFlagOf(TH_RST).Goto("tcp_closed").Build());
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
  for (const Family& family : kFamilies) {
    chain.rules.push_back(
        RuleBuilder(chain.name)
            .UpdateTuple(family.ip, TupleOrder::kReversed, family.udp, kUdpTimeout)
            .Accept()
            .Build());
  }
  return chain;
}

// A packet without a mark may be exempt by its destination, or be a reply to a client whose own
// port is among the NodePorts.
NftChain ToUdp(const Marks& marks, const core::PortBlocks& blocks) {
  NftChain chain{"to_udp", {}};
  AppendMarked(chain, marks, "exempt_udp");
  chain.rules.push_back(RuleBuilder(chain.name, "a guarded listener may have this port")
                            .DestinationPortIn("target_ports")
                            .Jump("datagram")
                            .Build());
  AppendForPorts(chain, Port::kSource, blocks, "", "udp_replies");
  return chain;
}

NftChain UdpReplies() {
  NftChain chain{"udp_replies", {}};
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

std::vector<NftChain> MakeChains(const NftRuleFacts& facts) {
  const Marks marks{facts.mark, facts.former_mark};
  std::vector<NftChain> chains;
  chains.push_back(Output(facts.blocks));
  chains.push_back(ToNodePort());
  chains.push_back(FromNodePort());
  chains.push_back(ToTcp(marks, facts.blocks));
  chains.push_back(ExemptTcp());
  chains.push_back(TcpEstablished());
  chains.push_back(TcpReplies());
  chains.push_back(TcpFlow());
  chains.push_back(TcpForget());
  chains.push_back(TcpClosing());
  chains.push_back(TcpClosed());
  chains.push_back(ToUdp(marks, facts.blocks));
  chains.push_back(ExemptUdp());
  chains.push_back(UdpReplies());
  chains.push_back(UdpReply());
  chains.push_back(Datagram());
  chains.push_back(ExemptDatagram());
  chains.push_back(DatagramReply());
  if (facts.asked) chains.push_back(Asked());
  if (facts.ipvs_bypass) {
    chains.push_back(Bypass(facts.mark));
    chains.push_back(BypassBack(facts.mark));
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
