// SPDX-License-Identifier: Apache-2.0
#include "rules/xt_extensions.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_CT.h>
#include <linux/netfilter/xt_TPROXY.h>
#include <linux/netfilter/xt_addrtype.h>
#include <linux/netfilter/xt_connmark.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_iprange.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter/xt_multiport.h>
#include <linux/netfilter/xt_set.h>
#include <linux/netfilter/xt_state.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <linux/rtnetlink.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"
#include "rules/xt_address_types.h"

namespace npg::rules::xt_extensions_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kWithoutEntry = NF_CT_STATE_INVALID_BIT | NF_CT_STATE_UNTRACKED_BIT;
constexpr uint32_t kNew = NF_CT_STATE_BIT(IP_CT_NEW);

// As the kernel dumps a structure: padded to a multiple of 8.
template <typename Info>
std::string Bytes(const Info& info) {
  std::string bytes(XT_ALIGN(sizeof(info)), '\0');
  std::memcpy(bytes.data(), &info, sizeof(info));
  return bytes;
}

Test On(Field field, uint8_t size, std::vector<Interval> intervals, bool negated = false,
        Value mask = kAllBits) {
  Operand operand;
  operand.field = field;
  operand.size = size;
  operand.mask = mask;
  Test test;
  test.operands.push_back(operand);
  test.intervals = std::move(intervals);
  test.negated = negated;
  return test;
}

Test State(uint32_t states, bool negated = false) {
  return On(Field::kState, 4, {{0, 0}}, !negated, states);
}

Test Unknown(absl::string_view what) {
  Test test = On(Field::kUnknown, 0, {});
  test.operands.front().unknown = std::string(what);
  return test;
}

Verdict Divert(absl::string_view what) {
  Verdict verdict;
  verdict.kind = VerdictKind::kDivert;
  verdict.unknown = std::string(what);
  return verdict;
}

Test IpSet(std::vector<Field> fields, absl::string_view name, bool negated = false) {
  Test test;
  for (const Field field : fields) {
    test.operands.emplace_back();
    test.operands.back().field = field;
  }
  test.set = SetName{.name = std::string(name), .ip_set = true};
  test.negated = negated;
  return test;
}

nf_inet_addr Ip(const char* text) {
  nf_inet_addr address{};
  const int family = std::strchr(text, ':') != nullptr ? AF_INET6 : AF_INET;
  EXPECT_EQ(inet_pton(family, text, &address), 1) << text;
  return address;
}

nf_conntrack_man_proto NatPort(uint16_t port) {
  nf_conntrack_man_proto proto{};
  proto.all = htons(port);
  return proto;
}

const Value kDoc = absl::MakeUint128(0x20010db800000000, 0);  // 2001:db8::

// One extension, and what it stands for.
struct Case {
  const char* what;
  uint8_t family;
  const char* name;
  uint32_t revision;
  std::string info;
  std::vector<Step> steps;
};

void ExpectMatches(const std::vector<Case>& cases) {
  for (const Case& test : cases) {
    EXPECT_EQ(DecodeXtMatch(test.family, test.name, test.revision, test.info), test.steps)
        << test.name << ": " << test.what;
  }
}

void ExpectTargets(const std::vector<Case>& cases) {
  for (const Case& test : cases) {
    EXPECT_EQ(DecodeXtTarget(test.family, test.name, test.revision, test.info), test.steps)
        << test.name << ": " << test.what;
  }
}

xt_tcp Tcp() {
  xt_tcp tcp{};
  tcp.spts[1] = tcp.dpts[1] = 65535;
  return tcp;
}

TEST(XtMatchTest, Tcp) {
  xt_tcp ports = Tcp();
  ports.dpts[0] = 30000;
  ports.dpts[1] = 32767;
  xt_tcp negated = ports;
  negated.invflags = XT_TCP_INV_DSTPT;
  xt_tcp sources = Tcp();
  sources.spts[1] = 1023;
  sources.invflags = XT_TCP_INV_SRCPT;
  xt_tcp none = Tcp();
  none.invflags = XT_TCP_INV_DSTPT;
  xt_tcp syn = Tcp();
  syn.flg_mask = 0x17;
  syn.flg_cmp = 0x02;
  xt_tcp not_syn = syn;
  not_syn.invflags = XT_TCP_INV_FLAGS;
  xt_tcp option = Tcp();
  option.option = 5;
  const Step destination = On(Field::kDestinationPort, 2, {{30000, 32767}});
  ExpectMatches({
      {"any", NFPROTO_IPV4, "tcp", 0, Bytes(Tcp()), {}},
      {"port", NFPROTO_IPV4, "tcp", 0, Bytes(ports), {destination}},
      {"port", NFPROTO_IPV6, "tcp", 0, Bytes(ports), {destination}},
      {"! port",
       NFPROTO_IPV4,
       "tcp",
       0,
       Bytes(negated),
       {On(Field::kDestinationPort, 2, {{30000, 32767}}, true)}},
      {"! source",
       NFPROTO_IPV4,
       "tcp",
       0,
       Bytes(sources),
       {On(Field::kSourcePort, 2, {{0, 1023}}, true)}},
      {"! all ports",
       NFPROTO_IPV4,
       "tcp",
       0,
       Bytes(none),
       {On(Field::kDestinationPort, 2, {{0, 65535}}, true)}},
      {"--syn", NFPROTO_IPV4, "tcp", 0, Bytes(syn), {On(Field::kTcpFlags, 1, {{2, 2}}, false, 23)}},
      {"! --syn",
       NFPROTO_IPV4,
       "tcp",
       0,
       Bytes(not_syn),
       {On(Field::kTcpFlags, 1, {{2, 2}}, true, 23)}},
      {"option", NFPROTO_IPV4, "tcp", 0, Bytes(option), {Unknown("match tcp --tcp-option")}},
      {"revision", NFPROTO_IPV4, "tcp", 1, Bytes(ports), {Unknown("match tcp")}},
  });
}

TEST(XtMatchTest, Udp) {
  const xt_udp port{.spts = {0, 65535}, .dpts = {53, 53}, .invflags = 0};
  const xt_udp negated{.spts = {7, 9}, .dpts = {53, 53}, .invflags = XT_UDP_INV_MASK};
  ExpectMatches({
      {"port", NFPROTO_IPV4, "udp", 0, Bytes(port), {On(Field::kDestinationPort, 2, {{53, 53}})}},
      {"! both",
       NFPROTO_IPV4,
       "udp",
       0,
       Bytes(negated),
       {On(Field::kSourcePort, 2, {{7, 9}}, true),
        On(Field::kDestinationPort, 2, {{53, 53}}, true)}},
      {"revision", NFPROTO_IPV4, "udp", 1, Bytes(port), {Unknown("match udp")}},
  });
}

TEST(XtMatchTest, Multiport) {
  const xt_multiport_v1 ports{.flags = XT_MULTIPORT_DESTINATION,
                              .count = 4,
                              .ports = {80, 1000, 2000, 443},
                              .pflags = {0, 1, 0, 0},
                              .invert = 0};
  xt_multiport_v1 sources = ports;
  sources.flags = XT_MULTIPORT_SOURCE;
  sources.invert = 1;
  xt_multiport_v1 either = ports;
  either.flags = XT_MULTIPORT_EITHER;
  xt_multiport_v1 open = ports;
  open.pflags[3] = 1;
  xt_multiport_v1 many = ports;
  many.count = XT_MULTI_PORTS + 1;
  xt_multiport_v1 flags = ports;
  flags.flags = XT_MULTIPORT_EITHER + 1;
  const std::vector<Interval> intervals = {{80, 80}, {1000, 2000}, {443, 443}};
  rules::Test of_either = On(Field::kDestinationPort, 2, intervals);
  of_either.or_source_port = true;
  const std::vector<Step> unknown = {Unknown("match multiport")};
  const char* const name = "multiport";
  ExpectMatches({
      {"dports", NFPROTO_IPV4, name, 1, Bytes(ports), {On(Field::kDestinationPort, 2, intervals)}},
      {"! sports",
       NFPROTO_IPV4,
       name,
       1,
       Bytes(sources),
       {On(Field::kSourcePort, 2, intervals, true)}},
      {"ports", NFPROTO_IPV6, name, 1, Bytes(either), {of_either}},
      {"range without end", NFPROTO_IPV4, name, 1, Bytes(open), unknown},
      {"too many", NFPROTO_IPV4, name, 1, Bytes(many), unknown},
      {"bad flags", NFPROTO_IPV4, name, 1, Bytes(flags), unknown},
      {"revision 0", NFPROTO_IPV4, name, 0, Bytes(ports), unknown},
  });
}

TEST(XtMatchTest, AddressType) {
  const xt_addrtype_info old{.source = XT_ADDRTYPE_UNICAST,
                             .dest = XT_ADDRTYPE_LOCAL,
                             .invert_source = 0,
                             .invert_dest = 1};
  const xt_addrtype_info_v1 local{.source = 0, .dest = XT_ADDRTYPE_LOCAL, .flags = 0};
  const xt_addrtype_info_v1 negated{.source = XT_ADDRTYPE_LOCAL | XT_ADDRTYPE_BROADCAST,
                                    .dest = XT_ADDRTYPE_MULTICAST,
                                    .flags = XT_ADDRTYPE_INVERT_SOURCE};
  xt_addrtype_info_v1 in = local;
  in.flags = XT_ADDRTYPE_LIMIT_IFACE_IN;
  xt_addrtype_info_v1 out = local;
  out.flags = XT_ADDRTYPE_LIMIT_IFACE_OUT;
  const std::vector<Step> limited = {Unknown("match addrtype with an interface")};
  const char* const name = "addrtype";
  ExpectMatches({
      {"revision 0",
       NFPROTO_IPV4,
       name,
       0,
       Bytes(old),
       {On(Field::kSourceType, 4, {{RTN_UNICAST, RTN_UNICAST}}),
        On(Field::kDestinationType, 4, {{RTN_LOCAL, RTN_LOCAL}}, true)}},
      {"local",
       NFPROTO_IPV4,
       name,
       1,
       Bytes(local),
       {On(Field::kDestinationType, 4, {{RTN_LOCAL, RTN_LOCAL}})}},
      {"local",
       NFPROTO_IPV6,
       name,
       1,
       Bytes(local),
       {On(Field::kDestinationType, 4, {{RTN_LOCAL, RTN_LOCAL}})}},
      {"several",
       NFPROTO_IPV4,
       name,
       1,
       Bytes(negated),
       {On(Field::kSourceType, 4, {{RTN_LOCAL, RTN_LOCAL}, {RTN_BROADCAST, RTN_BROADCAST}}, true),
        On(Field::kDestinationType, 4, {{RTN_MULTICAST, RTN_MULTICAST}})}},
      {"in", NFPROTO_IPV4, name, 1, Bytes(in), limited},
      {"out", NFPROTO_IPV4, name, 1, Bytes(out), limited},
      {"revision 2", NFPROTO_IPV4, name, 2, Bytes(local), {Unknown("match addrtype")}},
      {"size of revision 0", NFPROTO_IPV4, name, 1, Bytes(old), {Unknown("match addrtype")}},
  });
}

TEST(AddressTypesTest, Names) {
  EXPECT_EQ(AddressTypeByName("LOCAL"), std::optional<uint32_t>(RTN_LOCAL));
  EXPECT_EQ(AddressTypeByName("UNSPEC"), std::optional<uint32_t>(RTN_UNSPEC));
  EXPECT_EQ(AddressTypeByName("XRESOLVE"), std::optional<uint32_t>(RTN_XRESOLVE));
  EXPECT_EQ(AddressTypeByName("local"), std::nullopt);
  EXPECT_EQ(AddressTypeByName(""), std::nullopt);
}

bool HoldsForLocal(uint8_t family, uint32_t mask) {
  for (const Interval& interval : AddressTypeIntervals(family, mask)) {
    if (interval.first <= RTN_LOCAL && RTN_LOCAL <= interval.last) return true;
  }
  return false;
}

TEST(AddressTypesTest, UnicastOfIpv6HoldsForLocalAddresses) {
  EXPECT_FALSE(HoldsForLocal(NFPROTO_IPV4, XT_ADDRTYPE_UNICAST));
  EXPECT_TRUE(HoldsForLocal(NFPROTO_IPV6, XT_ADDRTYPE_UNICAST));
  EXPECT_TRUE(HoldsForLocal(NFPROTO_IPV6, XT_ADDRTYPE_UNICAST | XT_ADDRTYPE_LOCAL));
  EXPECT_FALSE(HoldsForLocal(NFPROTO_IPV6, XT_ADDRTYPE_UNICAST | XT_ADDRTYPE_ANYCAST));
  EXPECT_TRUE(HoldsForLocal(NFPROTO_IPV4, XT_ADDRTYPE_LOCAL | XT_ADDRTYPE_MULTICAST));
  EXPECT_FALSE(HoldsForLocal(NFPROTO_IPV6, XT_ADDRTYPE_LOCAL | XT_ADDRTYPE_MULTICAST));
  EXPECT_FALSE(HoldsForLocal(NFPROTO_IPV6, XT_ADDRTYPE_UNREACHABLE));
}

TEST(XtMatchTest, Marks) {
  const xt_mark_mtinfo1 mark{.mark = 0x4000, .mask = 0x4000, .invert = 0};
  const xt_mark_mtinfo1 not_mark{.mark = 0x4000, .mask = 0x4000, .invert = 1};
  const xt_connmark_mtinfo1 connection{.mark = 5, .mask = 7, .invert = 1};
  ExpectMatches({
      {"mark",
       NFPROTO_IPV4,
       "mark",
       1,
       Bytes(mark),
       {On(Field::kMark, 4, {{0x4000, 0x4000}}, false, 0x4000)}},
      {"! mark",
       NFPROTO_IPV4,
       "mark",
       1,
       Bytes(not_mark),
       {On(Field::kMark, 4, {{0x4000, 0x4000}}, true, 0x4000)}},
      {"revision", NFPROTO_IPV4, "mark", 0, Bytes(mark), {Unknown("match mark")}},
      {"! mark",
       NFPROTO_IPV6,
       "connmark",
       1,
       Bytes(connection),
       {State(kWithoutEntry, true), On(Field::kConnectionMark, 4, {{5, 5}}, true, 7)}},
      {"revision", NFPROTO_IPV4, "connmark", 0, Bytes(connection), {Unknown("match connmark")}},
  });
}

TEST(XtMatchTest, States) {
  const xt_state_info state{.statemask = kNew | XT_STATE_UNTRACKED};
  xt_conntrack_mtinfo1 first{};
  first.match_flags = XT_CONNTRACK_STATE | XT_CONNTRACK_STATE_ALIAS;
  first.state_mask = XT_CONNTRACK_STATE_INVALID;
  xt_conntrack_mtinfo2 second{};
  second.match_flags = XT_CONNTRACK_STATE;
  second.state_mask = kNew | XT_CONNTRACK_STATE_UNTRACKED | XT_CONNTRACK_STATE_DNAT;
  xt_conntrack_mtinfo3 third{};
  third.match_flags = third.invert_flags = XT_CONNTRACK_STATE;
  third.state_mask =
      XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED) | XT_CONNTRACK_STATE_BIT(IP_CT_RELATED);
  xt_conntrack_mtinfo3 nat{};
  nat.match_flags = XT_CONNTRACK_STATE;
  nat.state_mask = XT_CONNTRACK_STATE_SNAT | XT_CONNTRACK_STATE_DNAT;
  const uint32_t established = NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED);
  const std::vector<Step> unknown = {Unknown("match conntrack")};
  ExpectMatches({
      {"state", NFPROTO_IPV4, "state", 0, Bytes(state), {State(kNew | NF_CT_STATE_UNTRACKED_BIT)}},
      {"revision", NFPROTO_IPV4, "state", 1, Bytes(state), {Unknown("match state")}},
      {"1", NFPROTO_IPV4, "conntrack", 1, Bytes(first), {State(NF_CT_STATE_INVALID_BIT)}},
      {"2", NFPROTO_IPV4, "conntrack", 2, Bytes(second), {State(kNew | NF_CT_STATE_UNTRACKED_BIT)}},
      {"3", NFPROTO_IPV4, "conntrack", 3, Bytes(third), {State(established, true)}},
      {"nat never holds", NFPROTO_IPV4, "conntrack", 3, Bytes(nat), {State(0)}},
      {"revision 0", NFPROTO_IPV4, "conntrack", 0, Bytes(third), unknown},
      {"revision 4", NFPROTO_IPV4, "conntrack", 4, Bytes(third), unknown},
      {"size of revision 3", NFPROTO_IPV4, "conntrack", 2, Bytes(third), unknown},
  });
}

TEST(XtMatchTest, EntriesOfConntrack) {
  xt_conntrack_mtinfo3 info{};
  info.match_flags = XT_CONNTRACK_PROTO | XT_CONNTRACK_ORIGSRC | XT_CONNTRACK_ORIGDST |
                     XT_CONNTRACK_ORIGSRC_PORT | XT_CONNTRACK_ORIGDST_PORT | XT_CONNTRACK_DIRECTION;
  info.invert_flags = XT_CONNTRACK_ORIGSRC | XT_CONNTRACK_ORIGSRC_PORT;
  info.l4proto = IPPROTO_TCP;
  info.origsrc_addr = Ip("10.1.2.3");
  info.origsrc_mask = Ip("255.255.0.0");
  info.origdst_addr = Ip("10.1.2.3");
  info.origdst_mask = Ip("255.255.255.255");
  info.origsrc_port = 1;
  info.origsrc_port_high = 1023;
  info.origdst_port = 30000;
  info.origdst_port_high = 32767;
  xt_conntrack_mtinfo2 port{};
  port.match_flags = XT_CONNTRACK_STATE | XT_CONNTRACK_ORIGDST_PORT;
  port.state_mask = kNew;
  port.origdst_port = htons(30000);
  xt_conntrack_mtinfo3 address{};
  address.match_flags = address.invert_flags = XT_CONNTRACK_ORIGDST;
  address.origdst_addr = Ip("2001:db8::1");
  address.origdst_mask = Ip("ffff:ffff::");
  xt_conntrack_mtinfo3 reply{};
  reply.match_flags = reply.invert_flags = XT_CONNTRACK_DIRECTION;
  xt_conntrack_mtinfo3 status{};
  status.match_flags = XT_CONNTRACK_STATUS | XT_CONNTRACK_REPLSRC | XT_CONNTRACK_REPLDST_PORT;
  xt_conntrack_mtinfo3 untracked{};
  untracked.match_flags = XT_CONNTRACK_STATE | XT_CONNTRACK_PROTO;
  untracked.invert_flags = XT_CONNTRACK_STATE;
  untracked.state_mask = kNew;
  const Step tracked = State(kWithoutEntry, true);
  const char* const name = "conntrack";
  ExpectMatches({
      {"original direction",
       NFPROTO_IPV4,
       name,
       3,
       Bytes(info),
       {tracked, On(Field::kProtocol, 1, {{6, 6}}),
        On(Field::kSource, 4, {{0x0a010000, 0x0a010000}}, true, 0xffff0000),
        On(Field::kDestination, 4, {{0x0a010203, 0x0a010203}}, false, 0xffffffff),
        On(Field::kSourcePort, 2, {{1, 1023}}, true),
        On(Field::kDestinationPort, 2, {{30000, 32767}})}},
      {"port in network order",
       NFPROTO_IPV4,
       name,
       2,
       Bytes(port),
       {State(kNew), On(Field::kDestinationPort, 2, {{30000, 30000}})}},
      {"address",
       NFPROTO_IPV6,
       name,
       3,
       Bytes(address),
       {tracked, On(Field::kDestination, 16, {{kDoc, kDoc}}, true,
                    absl::MakeUint128(0xffffffff00000000, 0))}},
      {"reply direction", NFPROTO_IPV4, name, 3, Bytes(reply), {tracked, On(Field::kState, 4, {})}},
      {"unknown options",
       NFPROTO_IPV4,
       name,
       3,
       Bytes(status),
       {tracked, Unknown("match conntrack --ctreplsrc"), Unknown("match conntrack --ctstatus"),
        Unknown("match conntrack --ctrepldstport")}},
      {"untracked",
       NFPROTO_IPV4,
       name,
       3,
       Bytes(untracked),
       {State(kNew, true), Unknown("match conntrack --ctstate with other options")}},
  });
}

TEST(XtMatchTest, Iprange) {
  xt_iprange_mtinfo ipv4{};
  ipv4.flags = IPRANGE_SRC | IPRANGE_DST | IPRANGE_SRC_INV;
  ipv4.src_min = Ip("10.0.0.1");
  ipv4.src_max = Ip("10.0.0.9");
  ipv4.dst_min = Ip("127.0.0.0");
  ipv4.dst_max = Ip("127.0.1.0");
  xt_iprange_mtinfo ipv6{};
  ipv6.flags = IPRANGE_DST | IPRANGE_DST_INV;
  ipv6.dst_min = Ip("2001:db8::");
  ipv6.dst_max = Ip("2001:db8::9");
  ExpectMatches({
      {"v4",
       NFPROTO_IPV4,
       "iprange",
       1,
       Bytes(ipv4),
       {On(Field::kSource, 4, {{0x0a000001, 0x0a000009}}, true),
        On(Field::kDestination, 4, {{0x7f000000, 0x7f000100}})}},
      {"v6",
       NFPROTO_IPV6,
       "iprange",
       1,
       Bytes(ipv6),
       {On(Field::kDestination, 16, {{kDoc, kDoc + 9}}, true)}},
      {"revision", NFPROTO_IPV4, "iprange", 0, Bytes(ipv4), {Unknown("match iprange")}},
  });
}

TEST(XtMatchTest, IpSets) {
  const xt_set_info set{.index = 3, .dim = 2, .flags = 1U << IPSET_DIM_TWO};
  const xt_set_info negated{.index = 3, .dim = 1, .flags = IPSET_INV_MATCH | IPSET_DIM_ONE_SRC};
  xt_set_info_match_v0 old{};
  old.match_set.index = 7;
  old.match_set.u.flags[0] = IPSET_SRC | IPSET_MATCH_INV;
  old.match_set.u.flags[1] = IPSET_DST;
  xt_set_info_match_v3 third{};
  third.match_set = set;
  xt_set_info_match_v4 counters{};
  counters.match_set = set;
  counters.packets.op = IPSET_COUNTER_GT;
  xt_set_info_match_v4 not_counters = counters;
  not_counters.match_set = negated;
  xt_set_info_match_v4 nomatch{};
  nomatch.match_set = set;
  nomatch.match_set.flags |= IPSET_RETURN_NOMATCH;
  const Step both = IpSet({Field::kDestination, Field::kSource}, "#3");
  const std::vector<Step> unknown = {Unknown("match set")};
  ExpectMatches({
      {"0",
       NFPROTO_IPV4,
       "set",
       0,
       Bytes(old),
       {IpSet({Field::kSource, Field::kDestination}, "#7", true)}},
      {"1", NFPROTO_IPV4, "set", 1, Bytes(xt_set_info_match_v1{set}), {both}},
      {"2",
       NFPROTO_IPV4,
       "set",
       2,
       Bytes(xt_set_info_match_v1{negated}),
       {IpSet({Field::kSource}, "#3", true)}},
      {"3", NFPROTO_IPV6, "set", 3, Bytes(third), {both}},
      {"counters", NFPROTO_IPV4, "set", 4, Bytes(counters), {both, On(Field::kChance, 0, {})}},
      {"! counters",
       NFPROTO_IPV4,
       "set",
       4,
       Bytes(not_counters),
       {Unknown("match set with counters")}},
      {"nomatch", NFPROTO_IPV4, "set", 4, Bytes(nomatch), {Unknown("match set --return-nomatch")}},
      {"no dimension", NFPROTO_IPV4, "set", 1, Bytes(xt_set_info_match_v1{}), unknown},
      {"revision 5", NFPROTO_IPV4, "set", 5, Bytes(counters), unknown},
  });
}

TEST(XtMatchTest, MatchesThatNeedNoStructure) {
  for (const char* const name : {"comment", "nfacct"}) {
    EXPECT_THAT(DecodeXtMatch(NFPROTO_IPV4, name, 0, "x"), IsEmpty()) << name;
  }
  for (const char* const name :
       {"recent", "statistic", "limit", "hashlimit", "quota", "connlimit", "connbytes", "time"}) {
    EXPECT_THAT(DecodeXtMatch(NFPROTO_IPV4, name, 0, ""),
                ElementsAre(Step(On(Field::kChance, 0, {}))))
        << name;
  }
  for (const char* const name : {"icmp", "icmp6", "sctp", "dccp", "udplite", "esp", "ah"}) {
    EXPECT_THAT(DecodeXtMatch(NFPROTO_IPV4, name, 0, ""),
                ElementsAre(Step(On(Field::kProtocol, 1, {}))))
        << name;
  }
  for (const char* const name :
       {"owner", "cgroup", "socket", "u32", "bpf", "string", "physdev", "x", ""}) {
    EXPECT_THAT(DecodeXtMatch(NFPROTO_IPV4, name, 0, ""),
                ElementsAre(Step(Unknown(absl::StrCat("match ", name)))))
        << name;
  }
}

TEST(XtMatchTest, OtherSizesAreUnknown) {
  const std::vector<std::pair<std::string, uint32_t>> names = {
      {"addrtype", 0},  {"addrtype", 1},  {"connmark", 1}, {"conntrack", 1},
      {"conntrack", 2}, {"conntrack", 3}, {"iprange", 1},  {"mark", 1},
      {"multiport", 1}, {"set", 0},       {"set", 1},      {"set", 3},
      {"set", 4},       {"state", 0},     {"tcp", 0},      {"udp", 0}};
  for (const auto& [name, revision] : names) {
    for (const size_t size : {0U, 1U, 3U, 512U}) {
      EXPECT_THAT(DecodeXtMatch(NFPROTO_IPV4, name, revision, std::string(size, '\x01')),
                  ElementsAre(Step(Unknown(absl::StrCat("match ", name)))))
          << name << " revision " << revision << ", size " << size;
    }
  }
}

TEST(XtMatchTest, TakesStructuresWithoutPadding) {
  xt_tcp ports = Tcp();
  ports.dpts[0] = 80;
  ports.dpts[1] = 80;
  const std::string padded = Bytes(ports);
  ASSERT_GT(padded.size(), sizeof(ports));
  const std::vector<Step> expected = {On(Field::kDestinationPort, 2, {{80, 80}})};
  EXPECT_EQ(DecodeXtMatch(NFPROTO_IPV4, "tcp", 0, padded.substr(0, sizeof(ports))), expected);
  EXPECT_EQ(DecodeXtMatch(NFPROTO_IPV4, "tcp", 0, padded), expected);
  EXPECT_EQ(DecodeXtMatch(NFPROTO_IPV4, "tcp", 0, padded.substr(0, sizeof(ports) + 1)),
            std::vector<Step>{Unknown("match tcp")});
}

Nat To(std::optional<Interval> address, std::optional<Interval> port, bool redirect = false) {
  Nat nat;
  nat.address = address;
  nat.port = port;
  nat.redirect = redirect;
  return nat;
}

nf_nat_ipv4_multi_range_compat Compat(unsigned int flags) {
  nf_nat_ipv4_multi_range_compat compat{};
  compat.rangesize = 1;
  compat.range[0].flags = flags;
  compat.range[0].min_ip = Ip("10.0.0.0").ip;
  compat.range[0].max_ip = Ip("10.0.0.255").ip;
  compat.range[0].min = NatPort(8080);
  compat.range[0].max = NatPort(8089);
  return compat;
}

template <typename Range>
Range NatRange(unsigned int flags, const char* first, const char* last) {
  Range range{};
  range.flags = flags;
  range.min_addr = Ip(first);
  range.max_addr = Ip(last);
  range.min_proto = NatPort(8080);
  range.max_proto = NatPort(8089);
  return range;
}

constexpr unsigned int kAddress = NF_NAT_RANGE_MAP_IPS;
constexpr unsigned int kPort = NF_NAT_RANGE_PROTO_SPECIFIED;

TEST(XtTargetTest, Dnat) {
  nf_nat_ipv4_multi_range_compat two = Compat(kAddress);
  two.rangesize = 2;
  const Interval ipv4{0x0a000000, 0x0a0000ff};
  const Interval ports{8080, 8089};
  const std::vector<Step> unknown = {Divert("target DNAT")};
  const auto range = NatRange<nf_nat_range>(kAddress | kPort, "10.0.0.0", "10.0.0.255");
  const auto range6 = NatRange<nf_nat_range2>(kAddress | kPort, "2001:db8::", "2001:db8::1");
  const auto port = NatRange<nf_nat_range2>(kPort | NF_NAT_RANGE_PROTO_RANDOM, "::", "::");
  ExpectTargets({
      {"0", NFPROTO_IPV4, "DNAT", 0, Bytes(Compat(kAddress | kPort)), {To(ipv4, ports)}},
      {"address only", NFPROTO_IPV4, "DNAT", 0, Bytes(Compat(kAddress)), {To(ipv4, std::nullopt)}},
      {"1", NFPROTO_IPV4, "DNAT", 1, Bytes(range), {To(ipv4, ports)}},
      {"2", NFPROTO_IPV6, "DNAT", 2, Bytes(range6), {To(Interval{kDoc, kDoc + 1}, ports)}},
      {"port only", NFPROTO_IPV6, "DNAT", 2, Bytes(port), {To(std::nullopt, ports)}},
      {"two ranges", NFPROTO_IPV4, "DNAT", 0, Bytes(two), unknown},
      {"0 of IPv6", NFPROTO_IPV6, "DNAT", 0, Bytes(Compat(kAddress)), unknown},
      {"size", NFPROTO_IPV4, "DNAT", 2, Bytes(Compat(kAddress)), unknown},
      {"revision 3", NFPROTO_IPV6, "DNAT", 3, Bytes(range6), unknown},
  });
}

TEST(XtTargetTest, RedirectAndNetmap) {
  const Interval ports{8080, 8089};
  const auto range6 = NatRange<nf_nat_range>(kPort, "2001:db8::", "2001:db8::ff");
  ExpectTargets({
      {"v4", NFPROTO_IPV4, "REDIRECT", 0, Bytes(Compat(kPort)), {To(std::nullopt, ports, true)}},
      {"v6", NFPROTO_IPV6, "REDIRECT", 0, Bytes(range6), {To(std::nullopt, ports, true)}},
      {"same port",
       NFPROTO_IPV4,
       "REDIRECT",
       0,
       Bytes(Compat(0)),
       {To(std::nullopt, std::nullopt, true)}},
      {"revision", NFPROTO_IPV4, "REDIRECT", 1, Bytes(Compat(0)), {Divert("target REDIRECT")}},
      {"of the other family",
       NFPROTO_IPV6,
       "REDIRECT",
       0,
       Bytes(Compat(0)),
       {Divert("target REDIRECT")}},
      {"v4",
       NFPROTO_IPV4,
       "NETMAP",
       0,
       Bytes(Compat(kAddress)),
       {To(Interval{0x0a000000, 0x0a0000ff}, std::nullopt)}},
      {"v6",
       NFPROTO_IPV6,
       "NETMAP",
       0,
       Bytes(range6),
       {To(Interval{kDoc, kDoc + 0xff}, std::nullopt)}},
  });
}

TEST(XtTargetTest, Marks) {
  const xt_mark_tginfo2 mark{.mark = 0x4000, .mask = 0x4000};
  xt_connmark_tginfo1 set{};
  set.mode = XT_CONNMARK_SET;
  xt_connmark_tginfo2 save{};
  save.mode = XT_CONNMARK_SAVE;
  xt_connmark_tginfo2 restore{};
  restore.mode = XT_CONNMARK_RESTORE;
  restore.nfmask = 0xff;
  xt_connmark_tginfo2 bad{};
  bad.mode = XT_CONNMARK_RESTORE + 1;
  xt_set_info_target_v3 add{};
  xt_set_info_target_v3 map{};
  map.flags = IPSET_FLAG_MAP_SKBMARK;
  xt_tproxy_target_info_v1 tproxy{};
  tproxy.mark_mask = 0xf;
  tproxy.mark_value = 0x1;
  xt_tproxy_target_info old_tproxy{};
  old_tproxy.mark_mask = 0xf;
  old_tproxy.mark_value = 0x2;
  const Step unknown_mark = MarkChange{.known = false};
  ExpectTargets({
      {"mark",
       NFPROTO_IPV4,
       "MARK",
       2,
       Bytes(mark),
       {MarkChange{.keep = 0xffffbfff, .flip = 0x4000}}},
      {"revision", NFPROTO_IPV4, "MARK", 1, Bytes(mark), {Divert("target MARK")}},
      {"set", NFPROTO_IPV4, "CONNMARK", 1, Bytes(set), {ConnectionMarkChange{}}},
      {"save", NFPROTO_IPV4, "CONNMARK", 2, Bytes(save), {ConnectionMarkChange{}}},
      {"restore",
       NFPROTO_IPV4,
       "CONNMARK",
       2,
       Bytes(restore),
       {MarkChange{.keep = 0xffffff00, .flip = 0, .from_connection = true}}},
      {"mode", NFPROTO_IPV4, "CONNMARK", 2, Bytes(bad), {Divert("target CONNMARK")}},
      {"revision", NFPROTO_IPV4, "CONNMARK", 3, Bytes(save), {Divert("target CONNMARK")}},
      {"tproxy",
       NFPROTO_IPV6,
       "TPROXY",
       1,
       Bytes(tproxy),
       {MarkChange{.keep = 0xfffffff0, .flip = 0x1}, Divert("target TPROXY")}},
      {"tproxy of revision 0",
       NFPROTO_IPV4,
       "TPROXY",
       0,
       Bytes(old_tproxy),
       {MarkChange{.keep = 0xfffffff0, .flip = 0x2}, Divert("target TPROXY")}},
      {"hash", NFPROTO_IPV4, "HMARK", 0, "", {unknown_mark}},
      {"add", NFPROTO_IPV4, "SET", 3, Bytes(add), {}},
      {"map", NFPROTO_IPV4, "SET", 3, Bytes(map), {unknown_mark}},
      {"revision", NFPROTO_IPV4, "SET", 4, Bytes(map), {Divert("target SET")}},
  });
}

TEST(XtTargetTest, Untracked) {
  xt_ct_target_info old{};
  old.flags = XT_CT_NOTRACK;
  xt_ct_target_info_v1 notrack{};
  notrack.flags = XT_CT_NOTRACK | XT_CT_NOTRACK_ALIAS;
  xt_ct_target_info_v1 zone{};
  zone.zone = 3;
  ExpectTargets({
      {"0", NFPROTO_IPV4, "CT", 0, Bytes(old), {Untrack{}}},
      {"1", NFPROTO_IPV4, "CT", 1, Bytes(notrack), {Untrack{}}},
      {"2", NFPROTO_IPV6, "CT", 2, Bytes(notrack), {Untrack{}}},
      {"zone", NFPROTO_IPV4, "CT", 2, Bytes(zone), {}},
      {"revision", NFPROTO_IPV4, "CT", 3, Bytes(notrack), {Divert("target CT")}},
      {"size", NFPROTO_IPV4, "CT", 2, Bytes(old), {Divert("target CT")}},
      {"notrack", NFPROTO_IPV4, "NOTRACK", 0, "", {Untrack{}}},
  });
}

TEST(XtTargetTest, TargetsThatNeedNoStructure) {
  Verdict reject;
  reject.kind = VerdictKind::kReject;
  EXPECT_THAT(DecodeXtTarget(NFPROTO_IPV4, "REJECT", 0, ""), ElementsAre(Step(reject)));
  for (const char* const name :
       {"AUDIT", "LOG", "NFLOG", "ULOG", "TRACE", "CHECKSUM", "CLASSIFY", "TCPMSS", "TOS", "DSCP",
        "TTL", "HL", "TEE", "SECMARK", "SNAT", "MASQUERADE"}) {
    EXPECT_THAT(DecodeXtTarget(NFPROTO_IPV4, name, 0, "x"), IsEmpty()) << name;
  }
  for (const char* const name : {"TPROXY", "NFQUEUE", "SYNPROXY", "TARPIT", "DNPT", "x", ""}) {
    EXPECT_THAT(DecodeXtTarget(NFPROTO_IPV4, name, 0, ""),
                ElementsAre(Step(Divert(absl::StrCat("target ", name)))))
        << name;
  }
}

}  // namespace
}  // namespace npg::rules::xt_extensions_test
