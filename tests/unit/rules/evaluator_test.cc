// SPDX-License-Identifier: Apache-2.0
#include "rules/evaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/port.h"
#include "testing/status_asserts.h"
#include "unit/rules/rule_builders.h"

namespace npg::rules::evaluator_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace t = npg::testing;
using t::Node;

Evaluation Result(Node& node) {
  auto result = Evaluate(node.rules, node.reader, node.options);
  NPG_EXPECT_OK(result);
  return result.ok() ? *result : Evaluation{};
}

std::vector<std::string> Lines(const core::PortSnapshot& taken) {
  std::vector<std::string> lines;
  for (const auto& [key, owner] : taken) {
    lines.push_back(absl::StrCat(core::ToString(key), " ", owner.text()));
  }
  return lines;
}

std::vector<std::string> Taken(Node& node) { return Lines(Result(node).taken); }

// The ports of TCP that are taken.
std::vector<int> TcpPorts(Node& node) {
  std::vector<int> ports;
  for (const auto& [key, owner] : Result(node).taken) {
    if (key.protocol == core::Protocol::kTcp) ports.push_back(key.port);
  }
  return ports;
}

TEST(Evaluate, FindsTheServiceOfAPort) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Jump("SERVICES")}, "kubernetes service portals");
  node.Add(t::kNat, "SERVICES", {t::Is(Field::kDestinationType, 4, 2), t::Jump("NODEPORTS")});
  node.Add(t::kNat, "NODEPORTS", {t::Tcp(), t::Port(30080), t::Jump("EXT")}, "default/web:http");
  node.Add(t::kNat, "NODEPORTS", {t::Udp(), t::Port(30053), t::Jump("EXT2")});
  node.Add(t::kNat, "EXT", {t::Jump("MASQ")}, "masquerade traffic for default/web:http");
  node.Add(t::kNat, "EXT", {t::Jump("SEP")});
  node.Add(t::kNat, "MASQ", {t::OrMark(0x4000)});
  node.Add(t::kNat, "SEP", {t::Is(Field::kSource, 4, t::kPod), t::Jump("MASQ")});
  node.Add(t::kNat, "SEP", {t::Tcp(), t::To(t::kPod, 8080)});
  node.Add(t::kNat, "EXT2", {t::Udp(), t::To(t::kPod, 53)}, "kube-system/dns:dns");
  EXPECT_THAT(Taken(node), ElementsAre("30053/udp kube-system/dns", "30080/tcp default/web"));
}

TEST(Evaluate, NamesTableAndChainWithoutAService) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Jump("a/b")}, "no service");
  node.Add(t::kNat, "a/b", {t::Port(80), t::Redirect(8080)});
  EXPECT_THAT(Taken(node), ElementsAre("80/tcp nft table ip nat, chain a.b",
                                       "80/udp nft table ip nat, chain a.b"));
}

TEST(Evaluate, ReadsTheServiceInNamesOfChains) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT",
           {VerdictMap{{t::Of(Field::kProtocol, 1), t::Of(Field::kDestinationPort, 2, 4)},
                       {"service-nodeports", false}}});
  Set map;
  const std::string key =
      t::Bytes(6, 1) + std::string(3, '\0') + t::Bytes(30080, 2) + std::string(2, '\0');
  map.elements.push_back({key, key, t::Goto("external-SUSTUHLJ-default/web/tcp/http"), "", ""});
  node.reader.sets[{"service-nodeports", false}] = map;
  node.Add(t::kNat, "external-SUSTUHLJ-default/web/tcp/http", {t::To(t::kPod, 8080)});
  EXPECT_THAT(Taken(node), ElementsAre("30080/tcp default/web"));
}

TEST(Evaluate, TestsProtocolInterfaceStateAndFlags) {
  Node node;
  node.NatOutput();
  const Value lo = Value(uint64_t{'l'} << 56 | uint64_t{'o'} << 48) << 64;
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::Is(Field::kOutName, 16, lo), t::Port(1), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::Is(Field::kInName, 16, lo), t::Port(2), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT",
           {t::Is(Field::kInIndex, 4, 0), t::NewState(), t::Port(3), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::UntrackedState(), t::Port(4), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Is(Field::kTcpFlags, 1, 2), t::Port(5), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Not(t::Is(Field::kTcpFlags, 1, 2)), t::Port(6), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT",
           {t::Is(Field::kSourcePort, 2, 0, 65535), t::Tcp(), t::Port(7), t::Redirect(9)});
  std::vector<std::string> keys;
  for (const auto& [key, owner] : Result(node).taken) keys.push_back(core::ToString(key));
  EXPECT_THAT(keys, ElementsAre("1/tcp", "3/tcp", "3/udp", "5/tcp", "7/tcp"));
}

TEST(Evaluate, SplitsPorts) {
  Node node;
  node.NatOutput();
  auto list = t::Port(10, 12);
  list.intervals.push_back({20, 20});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), list, t::Not(t::Port(11)), t::Redirect(9)});
  auto odd = t::Port(1);
  odd.operands[0].mask = 1;
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(30, 33), odd, t::Redirect(9)});
  auto flipped = t::Port(0);
  flipped.operands[0].flip = 40;
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), flipped, t::Redirect(9)});
  EXPECT_THAT(TcpPorts(node), ElementsAre(10, 12, 20, 31, 33, 40));
}

TEST(Evaluate, TakesWhatChanceSometimesTakes) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(80), t::Chance(), t::Redirect(9)});
  auto ports = t::Port(90);
  ports.or_source_port = true;
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(90, 91), ports, t::Redirect(9)});
  EXPECT_THAT(TcpPorts(node), ElementsAre(80, 90, 91));
  EXPECT_THAT(Result(node).open, IsEmpty());
}

TEST(Evaluate, LeavesOpenWhatItCannotEvaluate) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(80, 81), t::Unknown("match u32"), t::Redirect(9)});
  // Decides nothing: no packet is taken behind it.
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(82), t::Unknown("match bpf"), t::Accept()});
  // Surely taken in spite of it.
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(83), t::Unknown("match x"), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(83), t::Redirect(8)});
  const Evaluation result = Result(node);
  EXPECT_THAT(Lines(result.taken), ElementsAre("83/tcp nft table ip nat, chain OUTPUT"));
  EXPECT_THAT(result.unknown,
              ElementsAre("nft table ip nat, chain OUTPUT, handle 1: match u32 cannot be "
                          "evaluated (80-81/tcp)"));
  EXPECT_THAT(result.open, ElementsAre(core::PortKey{80, core::Protocol::kTcp},
                                       core::PortKey{81, core::Protocol::kTcp}));
}

TEST(Evaluate, CountsPortsOfBroadRules) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Unknown("match u32"), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Udp(), t::Redirect(9)});
  const Evaluation result = Result(node);
  EXPECT_THAT(result.taken, IsEmpty());
  EXPECT_THAT(result.open, IsEmpty());
  EXPECT_THAT(result.unknown, ElementsAre("nft table ip nat, chain OUTPUT, handle 1: match u32 "
                                          "cannot be evaluated (65534 ports of tcp)"));
  EXPECT_THAT(result.broad, ElementsAre("nft table ip nat, chain OUTPUT, handle 2: redirects "
                                        "65534 ports of udp"));
}

TEST(Evaluate, GoesOnBehindDivertedPackets) {
  Node node;
  node.NatOutput();
  node.FilterOutput();
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::Port(80, 81), Verdict{VerdictKind::kDivert, "", "target TPROXY"}});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(81), t::Redirect(9)});
  const Evaluation result = Result(node);
  EXPECT_THAT(Lines(result.taken), ElementsAre("81/tcp nft table ip nat, chain OUTPUT"));
  EXPECT_THAT(result.unknown,
              ElementsAre("nft table ip nat, chain OUTPUT, handle 1: target TPROXY cannot be "
                          "evaluated (80/tcp)"));
}

TEST(Evaluate, ObeysReturnGotoAndAccept) {
  Node node;
  node.NatOutput();
  node.Base(t::kInet, "second", NF_INET_LOCAL_OUT, -90, true);
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(1, 4), t::Jump("A")});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(1), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(2), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(3), t::Redirect(9)});
  node.Add(t::kNat, "A", {t::Port(2), t::Goto("B")});
  node.Add(t::kNat, "A", {t::Port(3), t::Accept()});
  node.Add(t::kNat, "A", {t::Port(1), t::Return()});
  node.Add(t::kNat, "A", {t::Port(1, 2), t::Redirect(7)});
  node.Add(t::kNat, "B", {t::Port(9), t::Accept()});
  // Accept ends one base chain, not the hook.
  node.Add(t::kInet, "second", {t::Tcp(), t::Port(3, 4), t::Redirect(9)}, "from/second");
  EXPECT_THAT(Taken(node), ElementsAre("1/tcp nft table ip nat, chain OUTPUT",
                                       "2/tcp nft table ip nat, chain OUTPUT", "3/tcp from/second",
                                       "4/tcp from/second"));
}

TEST(Evaluate, GotoAtTheBaseEndsInThePolicy) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(2), t::Goto("B")});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(2), t::Redirect(9)});
  EXPECT_THAT(Taken(node), IsEmpty());
}

TEST(Evaluate, OrdersBaseChainsAsTheKernelDoes) {
  Node node;
  node.FilterOutput();
  node.NatOutput();
  // Of type nat: called where all of them are, whatever its priority.
  node.Base(t::kInet, "late", NF_INET_LOCAL_OUT, 500, true);
  node.Base(t::kInet, "mangle", NF_INET_LOCAL_OUT, -150);
  node.Add(t::kInet, "late", {t::Tcp(), t::Port(1), t::Redirect(9)});
  node.Add(t::kFilter, "OUTPUT", {t::Tcp(), t::Drop()});
  node.Add(t::kInet, "mangle", {t::Tcp(), t::Port(2), t::Drop()});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(2, 3), t::Redirect(9)});
  EXPECT_THAT(TcpPorts(node), ElementsAre(1, 3));
}

TEST(Evaluate, TellsRefusalsFromFirewalls) {
  Node node;
  node.FilterOutput();
  node.FilterInput();
  node.Add(t::kFilter, "OUTPUT", {t::Tcp(), t::NewState(), t::Jump("EXTERNAL")});
  node.Add(t::kFilter, "EXTERNAL", {t::Port(80), t::Reject()}, "default/none has no endpoints");
  node.Add(t::kFilter, "EXTERNAL", {t::Port(81), t::Drop()});
  node.Add(t::kFilter, "EXTERNAL", {t::Port(100, 200), t::Drop()});
  node.Add(t::kFilter, "OUTPUT", {t::Tcp(), t::Port(82), t::Reject()});
  node.Add(t::kFilter, "INPUT", {t::Tcp(), t::Port(81), t::Drop()});
  EXPECT_THAT(Taken(node), ElementsAre("80/tcp default/none"));
}

TEST(Evaluate, DoesNotCountPolicies) {
  Node node;
  node.Base(t::kFilter, "INPUT", NF_INET_LOCAL_IN, 0, false, true);
  node.Add(t::kFilter, "INPUT", {t::UntrackedState(), t::Accept()});
  EXPECT_THAT(Taken(node), IsEmpty());
}

// Old versions of kube-proxy: the rule in the table nat names the port, the one in the table
// filter asks for the mark.
TEST(Evaluate, FollowsMarks) {
  Node node;
  node.NatOutput();
  node.FilterOutput();
  for (int i = 0; i < 40; ++i) {
    node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(30000 + i), t::Jump("XLB")},
             absl::StrCat("default/svc-", i, ":http"));
  }
  node.Add(t::kNat, "XLB", {t::Jump("MARK-DROP")});
  node.Add(t::kNat, "MARK-DROP", {t::OrMark(0x8000)});
  node.Add(t::kNat, "OUTPUT", {t::Udp(), t::OrMark(0x10)});
  node.Add(t::kNat, "OUTPUT", {t::Udp(), t::MarkHas(0x10), t::Port(53), t::Redirect(9)});
  node.Add(t::kFilter, "OUTPUT", {t::NewState(), t::MarkHas(0x8000), t::Drop()});
  const std::vector<std::string> taken = Taken(node);
  ASSERT_EQ(taken.size(), 41U);
  EXPECT_EQ(taken[1], "30000/tcp default/svc-0");
  EXPECT_EQ(taken[40], "30039/tcp default/svc-39");
}

TEST(Evaluate, KeepsEffectsOfRulesThatFailLater) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::OrMark(1), t::Port(1), t::Accept()});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::MarkHas(1), t::Port(1, 2), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {MarkChange{false, 0, 0}});
  node.Add(t::kNat, "OUTPUT", {MarkChange{true, 0xffff0000, 4}});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::MarkHas(4), t::Port(3), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::MarkHas(0x10000), t::Port(4), t::Redirect(9)});
  const Evaluation result = Result(node);
  EXPECT_THAT(TcpPorts(node), ElementsAre(2, 3));
  EXPECT_THAT(result.open, ElementsAre(core::PortKey{4, core::Protocol::kTcp}));
}

TEST(Evaluate, AsksTheConnectionsMark) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT",
           {t::Is(Field::kConnectionMark, 4, 0), t::Tcp(), t::Port(1), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), ConnectionMarkChange{}});
  node.Add(t::kNat, "OUTPUT",
           {t::Is(Field::kConnectionMark, 4, 0), t::Tcp(), t::Port(2), t::Redirect(9)});
  EXPECT_THAT(TcpPorts(node), ElementsAre(1));
  EXPECT_THAT(Result(node).open, ElementsAre(core::PortKey{2, core::Protocol::kTcp}));
}

TEST(Evaluate, UntracksBeforeConntrackOnly) {
  Node node;
  node.RawOutput();
  node.Base(t::kInet, "mangle", NF_INET_LOCAL_OUT, -150);
  node.NatOutput();
  node.Add(t::kRaw, "OUTPUT", {t::Tcp(), t::Port(1), Untrack{}});
  node.Add(t::kInet, "mangle", {t::Tcp(), t::Port(2), Untrack{}});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(1, 2), t::Redirect(9)});
  EXPECT_THAT(TcpPorts(node), ElementsAre(2));
}

TEST(Evaluate, LeavesPortsOfTheNodeItself) {
  Node node;
  node.options.node_addresses.insert(t::kNode4);
  node.NatOutput();
  node.Base(t::kInet, "later", NF_INET_LOCAL_OUT, -50, true);
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(1), t::To(t::kNode4Number, 1)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(2), t::To(t::kNode4Number, 3)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(4), t::Redirect(4)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(5), t::To(0x7f000001, 5)});
  Nat same_port;
  same_port.redirect = true;
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(6), same_port});
  Nat several = t::To(0x7f000001, 7);
  several.address->last = 0x7f000002;
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(7), several});
  // No nat behind a Nat.
  node.Add(t::kInet, "later", {t::Tcp(), t::Port(1, 6), t::Redirect(9)});
  EXPECT_THAT(TcpPorts(node), ElementsAre(2, 3, 7));
}

TEST(Evaluate, ComparesSets) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::In({t::Of(Field::kDestinationPort, 2)}, "ports"), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT",
           {t::Udp(), t::Not(t::In({t::Of(Field::kDestinationPort, 2)}, "ports")), t::Port(9, 20),
            t::Redirect(8)});
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(),
            t::In({t::Of(Field::kDestination, 4), t::Of(Field::kDestinationPort, 2, 4)}, "both"),
            t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::Port(50), t::In({t::Of(Field::kSource, 4)}, "changing"), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::Port(51), t::In({t::Of(Field::kSource, 4)}, "strange"), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::Port(52), t::In({t::Of(Field::kSource, 4)}, "missing"), t::Redirect(9)});
  Operand mark = t::Of(Field::kMark, 4);
  mark.host_order = true;
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::Port(53), t::OrMark(0x100), t::In({mark}, "marks"), t::Redirect(9)});
  Set ports;
  ports.elements.push_back({t::Bytes(10, 2), t::Bytes(12, 2), {}, "", ""});
  ports.elements.push_back({t::Bytes(14, 2), t::Bytes(14, 2), {}, "", ""});
  node.reader.sets[{"ports", false}] = ports;
  Set both;
  both.elements.push_back({t::Bytes(0x7f000000, 4) + t::Bytes(30, 2) + std::string(2, '\0'),
                           t::Bytes(0x7fffffff, 4) + t::Bytes(31, 2) + std::string(2, '\0'),
                           {},
                           "",
                           ""});
  both.elements.push_back({t::Bytes(t::kPod, 4) + t::Bytes(33, 2) + std::string(2, '\0'),
                           t::Bytes(t::kPod, 4) + t::Bytes(33, 2) + std::string(2, '\0'),
                           {},
                           "",
                           ""});
  node.reader.sets[{"both", false}] = both;
  node.reader.sets[{"changing", false}].chance = true;
  node.reader.sets[{"strange", false}].unknown = "ipset of the type hash:mac";
  const std::string swapped("\x00\x01\x00\x00", 4);
  node.reader.sets[{"marks", false}].elements.push_back({swapped, swapped, {}, "", ""});
  const Evaluation result = Result(node);
  EXPECT_THAT(TcpPorts(node), ElementsAre(10, 11, 12, 14, 30, 31, 50, 53));
  size_t udp = 0;
  for (const auto& [key, owner] : result.taken) udp += key.protocol == core::Protocol::kUdp ? 1 : 0;
  EXPECT_EQ(udp, 8U);
  EXPECT_THAT(result.unknown, ElementsAre("nft table ip nat, chain OUTPUT, handle 5: ipset of the "
                                          "type hash:mac cannot be evaluated (51/tcp)"));
}

TEST(Evaluate, ComparesIpSets) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT",
           {t::In({t::Of(Field::kDestination, 4), t::Of(Field::kDestination, 4)}, "nodes", true),
            t::Redirect(9)});
  node.Add(
      t::kNat, "OUTPUT",
      {t::Tcp(), t::Port(60),
       t::In({t::Of(Field::kSource, 4), t::Of(Field::kSource, 4)}, "nodes", true), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT",
           {t::In({t::Of(Field::kDestination, 4)}, "ports", true), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT",
           {t::Port(70), t::In({t::Of(Field::kDestination, 4)}, "nodes", true), t::Redirect(9)});
  Set nodes;
  nodes.parts = {IpSetPart::kAddress, IpSetPart::kProtocolAndPort};
  const std::string key = t::Bytes(0x7f000001, 4) + t::Bytes(6, 1) + std::string(3, '\0') +
                          t::Bytes(40, 2) + std::string(2, '\0');
  nodes.elements.push_back({key, key, {}, "", ""});
  node.reader.sets[{"nodes", true}] = nodes;
  Set ports;
  ports.parts = {IpSetPart::kPort};
  ports.elements.push_back(
      {t::Bytes(50, 2) + std::string(2, '\0'), t::Bytes(51, 2) + std::string(2, '\0'), {}, "", ""});
  node.reader.sets[{"ports", true}] = ports;
  std::vector<std::string> keys;
  for (const auto& [port, owner] : Result(node).taken) keys.push_back(core::ToString(port));
  EXPECT_THAT(keys, ElementsAre("40/tcp", "50/tcp", "50/udp", "51/tcp", "51/udp", "60/tcp"));
}

TEST(Evaluate, TakesDestinationsFromMaps) {
  Node node;
  node.NatOutput();
  Nat nat;
  nat.address_offset = 0;
  nat.port_offset = 4;
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), DataMap{{t::Of(Field::kDestinationPort, 2)}, {"to", false}}, nat});
  Set map;
  map.elements.push_back({t::Bytes(80, 2),
                          t::Bytes(80, 2),
                          {},
                          t::Bytes(t::kPod, 4) + t::Bytes(8080, 2),
                          "default/web:http"});
  map.elements.push_back(
      {t::Bytes(81, 2), t::Bytes(81, 2), {}, t::Bytes(0x7f000001, 4) + t::Bytes(81, 2), ""});
  node.reader.sets[{"to", false}] = map;
  EXPECT_THAT(Taken(node), ElementsAre("80/tcp default/web"));
}

TEST(Evaluate, EvaluatesBothFamilies) {
  Node node({{core::Protocol::kTcp, t::kLocal4}, {core::Protocol::kTcp, t::kLocal6}});
  node.NatOutput();
  node.Base(t::kNat6, "OUTPUT", NF_INET_LOCAL_OUT, -100, true);
  node.Base(t::kInet, "out", NF_INET_LOCAL_OUT, -90, true);
  node.Add(t::kNat, "OUTPUT", {t::Port(4), t::To(t::kPod, 80)});
  node.Add(t::kNat6, "OUTPUT",
           {t::Port(6), t::Is(Field::kDestination, 16, 1), t::To(Value(0xfd) << 120, 80)});
  node.Add(t::kNat6, "OUTPUT",
           {t::Port(8), t::Not(t::Is(Field::kDestination, 16, 1)), t::Redirect(9)});
  node.Add(t::kInet, "out", {t::Is(Field::kFamily, 1, NFPROTO_IPV6), t::Port(7), t::Redirect(9)});
  node.Add(t::kInet, "out",
           {t::Is(Field::kDestination, 4, 0, 0xffffffff), t::Port(9), t::Redirect(10)});
  EXPECT_THAT(
      Taken(node),
      ElementsAre("4/tcp nft table ip nat, chain OUTPUT", "6/tcp nft table ip6 nat, chain OUTPUT",
                  "7/tcp nft table inet mine, chain out", "9/tcp nft table inet mine, chain out"));
}

TEST(Evaluate, BoundsLoops) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(80), t::Jump("A")});
  node.Add(t::kNat, "A", {t::Jump("A")});
  EXPECT_THAT(Result(node).open, ElementsAre(core::PortKey{80, core::Protocol::kTcp}));
}

TEST(Evaluate, GivesUpAfterTooManyRules) {
  Node node;
  node.options.max_visits = 1000;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(79), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(80), t::Jump("A")});
  for (int i = 0; i < 10; ++i) node.Add(t::kNat, "A", {t::Jump("A")});
  const Evaluation result = Result(node);
  EXPECT_THAT(Lines(result.taken), ElementsAre("79/tcp nft table ip nat, chain OUTPUT"));
  EXPECT_THAT(result.open, ElementsAre(core::PortKey{80, core::Protocol::kTcp}));
  EXPECT_THAT(result.unknown, Contains(HasSubstr("too many rules")));
}

TEST(Evaluate, DoesNotKnowTheMarksOfVeryManyFlows) {
  Node node;
  node.NatOutput();
  for (uint32_t port = 1; port <= 400; ++port) {
    node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(port), t::OrMark(port)});
  }
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Is(Field::kMark, 4, 5), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Is(Field::kMark, 4, 390), t::Redirect(9)});
  EXPECT_THAT(TcpPorts(node), ElementsAre(5));
  EXPECT_THAT(Result(node).open, Contains(core::PortKey{390, core::Protocol::kTcp}));
}

TEST(Evaluate, GoesOnInTheRuleAfterContinue) {
  Node node;
  node.NatOutput();
  Set map;
  map.elements.push_back({t::Bytes(80, 2), t::Bytes(80, 2), t::Do(VerdictKind::kContinue), "", ""});
  map.elements.push_back({t::Bytes(81, 2), t::Bytes(81, 2), t::Do(VerdictKind::kBreak), "", ""});
  node.reader.sets[{"m", false}] = map;
  node.Add(
      t::kNat, "OUTPUT",
      {t::Tcp(), VerdictMap{{t::Of(Field::kDestinationPort, 2)}, {"m", false}}, t::Redirect(9)});
  EXPECT_THAT(TcpPorts(node), ElementsAre(80));
}

TEST(Evaluate, FollowsJumpsOfLegacyTablesDeeply) {
  Node node;
  const TableId legacy{Engine::kLegacy, NFPROTO_IPV4, "nat"};
  node.Base(legacy, "0", NF_INET_LOCAL_OUT, -100, true);
  for (int i = 0; i < 400; ++i) {
    const ChainName chain{legacy, absl::StrCat(i)};
    node.rules.BeginChain(chain);
    node.rules.Append(chain, {1, "", {t::Tcp(), t::Jump(absl::StrCat(i + 1))}});
  }
  node.rules.BeginChain({legacy, "400"});
  node.rules.Append({legacy, "400"}, {1, "", {t::Tcp(), t::Port(80), t::Redirect(9)}});
  EXPECT_THAT(TcpPorts(node), ElementsAre(80));
}

TEST(Evaluate, ReadsLegacyChainsOnce) {
  Node node;
  const TableId legacy{Engine::kLegacy, NFPROTO_IPV4, "nat"};
  node.Base(legacy, "OUTPUT", NF_INET_LOCAL_OUT, -100, true);
  node.rules.BeginChain({legacy, "OUTPUT"});
  node.rules.Append({legacy, "OUTPUT"}, {1, "", {t::Tcp(), t::Jump("NOT-THERE")}});
  node.rules.Append({legacy, "OUTPUT"},
                    {2, "", {t::Tcp(), t::Port(80), t::Unknown("match u32"), t::Redirect(9)}});
  EXPECT_THAT(Result(node).unknown, ElementsAre("iptables-legacy table nat, chain OUTPUT, rule 2: "
                                                "match u32 cannot be evaluated (80/tcp)"));
  EXPECT_THAT(node.reader.chains_read, IsEmpty());
}

TEST(Evaluate, ReturnsErrorsOfTheReader) {
  Node node;
  node.NatOutput();
  node.reader.failure = absl::UnavailableError("changed");
  EXPECT_EQ(Evaluate(node.rules, node.reader, node.options).status(), node.reader.failure);
}

TEST(Evaluate, PrefersServicesToOtherOwners) {
  Node node({{core::Protocol::kTcp, t::kLocal4}, {core::Protocol::kTcp, t::kNode4}});
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT",
           {t::Is(Field::kDestination, 4, 0x7f000001), t::Port(80), t::Redirect(9)});
  node.Add(t::kNat, "OUTPUT", {t::Port(80), t::Redirect(9)}, "default/web");
  EXPECT_THAT(Taken(node), ElementsAre("80/tcp default/web"));
}

TEST(Evaluate, LeavesOpenWhatMayBeRefused) {
  Node node;
  node.FilterInput();
  node.Add(t::kFilter, "INPUT",
           {t::NewState(), t::Tcp(), t::Port(80), t::Unknown("match u32"), t::Reject()});
  // Refused in any case, and sometimes before.
  node.Add(t::kFilter, "INPUT",
           {t::NewState(), t::Tcp(), t::Port(81), t::Unknown("match u32"), t::Reject()});
  node.Add(t::kFilter, "INPUT", {t::NewState(), t::Tcp(), t::Port(81), t::Reject()});
  const Evaluation result = Result(node);
  EXPECT_THAT(Lines(result.taken), ElementsAre("81/tcp nft table ip filter, chain INPUT"));
  EXPECT_THAT(result.open, ElementsAre(core::PortKey{80, core::Protocol::kTcp}));
}

// Ten thousand rules that cannot be evaluated make no more flows than one.
TEST(Evaluate, NamesEachOfManyUnknownRules) {
  Node node;
  node.NatOutput();
  for (int i = 0; i < 2000; ++i) {
    node.Add(t::kNat, "OUTPUT",
             {t::Tcp(), t::Port(20000 + 2 * i), t::Unknown("match u32"), t::Redirect(9)});
  }
  const Evaluation result = Result(node);
  EXPECT_EQ(result.unknown.size(), 2000U);
  EXPECT_EQ(result.open.size(), 2000U);
}

// What a set's element without a match of its own takes: all but what other elements take.
TEST(Evaluate, ObeysCatchallElements) {
  Node node;
  node.NatOutput();
  node.Add(
      t::kNat, "OUTPUT",
      {t::Tcp(), t::Port(1, 3), VerdictMap{{t::Of(Field::kDestinationPort, 2)}, {"map", false}}});
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(1, 3), t::Redirect(9)});
  Set map;
  map.elements.push_back({t::Bytes(2, 2), t::Bytes(2, 2), t::Do(VerdictKind::kContinue), "", ""});
  map.elements.push_back({t::Bytes(0, 2), t::Bytes(0xffff, 2), t::Accept(), "", "", true});
  node.reader.sets[{"map", false}] = map;
  EXPECT_THAT(TcpPorts(node), ElementsAre(2));
}

TEST(Evaluate, WalksOnceForAddressesThatRulesTreatAlike) {
  Node node({{core::Protocol::kTcp, t::kLocal4}, {core::Protocol::kTcp, t::kNode4}});
  node.options.node_addresses.insert(t::kNode4);
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT",
           {t::Port(80), t::In({t::Of(Field::kDestination, 4)}, "nodes"), t::Redirect(9)});
  const std::string key = t::Bytes(t::kNode4Number, 4);
  node.reader.sets[{"nodes", false}].elements.push_back({key, key, {}, "", ""});
  EXPECT_THAT(TcpPorts(node), ElementsAre(80));
}

TEST(Evaluate, EvaluatesTenThousandServices) {
  Node node({{core::Protocol::kTcp, t::kLocal4}, {core::Protocol::kUdp, t::kLocal4}});
  node.NatOutput();
  constexpr int kServices = 10000;
  for (int i = 0; i < kServices; ++i) {
    const std::string ext = absl::StrCat("KUBE-EXT-", i);
    const int port = 10000 + (i * 7919) % 50000;
    node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(port), t::Jump(ext)},
             absl::StrCat("ns/svc-", i, ":http"));
    node.Add(t::kNat, ext, {t::Jump("MASQ")});
    node.Add(t::kNat, ext, {t::To(t::kPod + static_cast<uint32_t>(i), 80)});
  }
  node.Add(t::kNat, "MASQ", {t::OrMark(0x4000)});
  const Evaluation result = Result(node);
  ASSERT_EQ(result.taken.size(), size_t{kServices});
  EXPECT_EQ(result.taken.at({10000, core::Protocol::kTcp}).text(), "ns/svc-0");
  EXPECT_EQ(result.taken.at({10000 + 7919, core::Protocol::kTcp}).text(), "ns/svc-1");
}

// A Nat to another address of the node, at the same port.
Nat ToAddress(Value address) {
  Nat nat;
  nat.address = Interval{address, address};
  return nat;
}

TEST(Evaluate, JudgesLaterRulesByTheNewDestination) {
  Node node({{core::Protocol::kTcp, t::kNode4}});
  node.NatOutput();
  node.FilterInput();
  Nat redirect;
  redirect.redirect = true;  // to 127.0.0.1
  node.Add(t::kNat, "OUTPUT", {t::Port(80, 83), redirect});
  node.Add(t::kFilter, "INPUT",
           {t::Is(Field::kDestination, 4, 0x7f000001), t::NewState(), t::Port(80), t::Reject()});
  node.Add(
      t::kFilter, "INPUT",
      {t::Is(Field::kDestination, 4, t::kNode4Number), t::NewState(), t::Port(81), t::Reject()});
  node.Add(t::kFilter, "INPUT",
           {t::Is(Field::kSource, 4, t::kNode4Number), t::NewState(), t::Port(82), t::Reject()});
  node.Add(t::kFilter, "INPUT",
           {t::In({t::Of(Field::kDestination, 4)}, "loopback"), t::NewState(), t::Port(83),
            t::Reject()});
  Set loopback;
  loopback.elements.push_back(
      {t::Bytes(0x7f000001, 4), t::Bytes(0x7f000001, 4), t::Accept(), "", ""});
  node.reader.sets[{"loopback", false}] = loopback;
  EXPECT_THAT(TcpPorts(node), ElementsAre(80, 82, 83));
}

TEST(Evaluate, FollowsADnatToAnotherOwnAddress) {
  Node node({{core::Protocol::kTcp, t::kLocal4}, {core::Protocol::kTcp, t::kNode4}});
  node.options.node_addresses.insert(t::kNode4);
  node.NatOutput();
  node.FilterInput();
  node.Add(t::kNat, "OUTPUT",
           {t::Is(Field::kDestination, 4, 0x7f000001), t::Port(80), ToAddress(t::kNode4Number)});
  node.Add(t::kFilter, "INPUT",
           {t::Not(t::Is(Field::kDestination, 4, t::kNode4Number)), t::NewState(), t::Port(80),
            t::Reject()});
  node.Add(t::kFilter, "INPUT",
           {t::Is(Field::kDestination, 4, t::kNode4Number), t::Is(Field::kSource, 4, 0x7f000001),
            t::NewState(), t::Port(81), t::Reject()});
  EXPECT_THAT(TcpPorts(node), IsEmpty());
}

TEST(Evaluate, LeavesOpenWhatANatMayTakeAndAFirewallRefuseOtherwise) {
  Node node;
  node.NatOutput();
  node.FilterInput();
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(80), t::Unknown("meta skgid"), t::Redirect(9)});
  node.Add(t::kFilter, "INPUT", {t::Tcp(), t::Port(80), t::Drop()});
  const Evaluation result = Result(node);
  EXPECT_THAT(result.taken, IsEmpty());
  EXPECT_THAT(result.unknown, ElementsAre("nft table ip nat, chain OUTPUT, handle 1: meta skgid "
                                          "cannot be evaluated (80/tcp)"));
}

TEST(Evaluate, TakesWhatANatOrARefusalTakesInAnyCase) {
  Node node;
  node.NatOutput();
  node.FilterInput();
  node.Add(t::kNat, "OUTPUT", {t::Tcp(), t::Port(80), t::Unknown("meta skgid"), t::Redirect(9)});
  node.Add(t::kFilter, "INPUT", {t::Tcp(), t::NewState(), t::Port(80), t::Drop()});
  EXPECT_THAT(TcpPorts(node), ElementsAre(80));
  EXPECT_THAT(Result(node).unknown, IsEmpty());
}

TEST(Evaluate, LeavesOpenWhatIsRefusedUntrackedForAnotherReasonOnly) {
  Node node;
  node.FilterInput();
  node.Add(t::kFilter, "INPUT", {t::Tcp(), t::NewState(), t::Port(80), t::Unknown("a"), t::Drop()});
  node.Add(t::kFilter, "INPUT",
           {t::Tcp(), t::UntrackedState(), t::Port(80), t::Unknown("b"), t::Drop()});
  node.Add(t::kFilter, "INPUT", {t::Tcp(), t::Port(81), t::Unknown("c"), t::Drop()});
  const Evaluation result = Result(node);
  EXPECT_THAT(result.taken, IsEmpty());
  EXPECT_THAT(result.unknown, ElementsAre("nft table ip filter, chain INPUT, handle 1: a cannot "
                                          "be evaluated (80/tcp)"));
}

Element Catchall(size_t size, Verdict verdict) {
  Element element{std::string(size, '\0'), std::string(size, '\xff'), std::move(verdict), "", ""};
  element.catchall = true;
  return element;
}

TEST(Evaluate, TakesTheCatchallForWhatNoOtherElementMatches) {
  Node node;
  node.options.ports = PortSet::Of(80, 82);
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), VerdictMap{{t::Of(Field::kDestinationPort, 2)}, {"map", false}}});
  node.Add(t::kNat, "take", {t::Redirect(9)});
  Set map;
  map.elements.push_back({t::Bytes(81, 2), t::Bytes(81, 2), t::Accept(), "", ""});
  map.elements.push_back(Catchall(2, t::Jump("take")));
  node.reader.sets[{"map", false}] = map;
  EXPECT_THAT(TcpPorts(node), ElementsAre(80, 82));
}

TEST(Evaluate, DoubtsTheCatchallWhereAnotherElementMayMatch) {
  Node node;
  node.NatOutput();
  Operand group = t::Of(Field::kUnknown, 4, 4);
  group.unknown = "meta skgid";
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::Port(80, 81),
            VerdictMap{{t::Of(Field::kDestinationPort, 2), group}, {"map", false}}});
  node.Add(t::kNat, "take", {t::Redirect(9)});
  Set map;
  const std::string key = t::Bytes(81, 2) + std::string(6, '\0');
  map.elements.push_back({key, key, t::Accept(), "", ""});
  map.elements.push_back(Catchall(8, t::Jump("take")));
  node.reader.sets[{"map", false}] = map;
  const Evaluation result = Result(node);
  EXPECT_THAT(Lines(result.taken), ElementsAre("80/tcp nft table ip nat, chain OUTPUT"));
  EXPECT_THAT(result.unknown, ElementsAre("nft table ip nat, chain OUTPUT, handle 1: meta skgid "
                                          "cannot be evaluated (81/tcp)"));
}

TEST(Evaluate, FindsEverythingInASetWithACatchall) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT",
           {t::Tcp(), t::Port(80), t::In({t::Unknown("meta skgid").operands[0]}, "all"),
            t::Redirect(9)});
  Set all;
  all.elements.push_back(Catchall(4, {}));
  node.reader.sets[{"all", false}] = all;
  EXPECT_THAT(TcpPorts(node), ElementsAre(80));
  EXPECT_THAT(Result(node).unknown, IsEmpty());
}

TEST(Evaluate, CopiesTheMarkOfTheConnectionWhileItIsKnown) {
  Node node;
  node.FilterOutput();
  const MarkChange restore{.keep = 0, .flip = 0, .from_connection = true};
  node.Add(t::kFilter, "OUTPUT", {t::OrMark(0x10)});
  node.Add(t::kFilter, "OUTPUT", {t::Tcp(), t::Port(80), restore});
  node.Add(t::kFilter, "OUTPUT", {t::Tcp(), t::Port(81), ConnectionMarkChange{}, restore});
  node.Add(t::kFilter, "OUTPUT",
           {t::Tcp(), t::Port(80, 82), t::NewState(), t::MarkHas(0x10), t::Reject()});
  const Evaluation result = Result(node);
  EXPECT_THAT(Lines(result.taken), ElementsAre("82/tcp nft table ip filter, chain OUTPUT"));
  EXPECT_THAT(result.unknown, ElementsAre("nft table ip filter, chain OUTPUT, handle 4: the "
                                          "packet's mark cannot be evaluated (81/tcp)"));
}

TEST(Evaluate, HasNoConnectionMarkWithoutAConnection) {
  Node node;
  node.RawOutput();
  node.FilterOutput();
  const rules::Test is_zero = t::Is(Field::kConnectionMark, 4, 0);
  for (const TableId& table : {t::kRaw, t::kFilter}) {
    const int port = table == t::kRaw ? 80 : 82;
    node.Add(table, "OUTPUT", {t::Tcp(), t::Port(port), is_zero, t::Drop()});
    node.Add(table, "OUTPUT", {t::Tcp(), t::Port(port + 1), t::Not(is_zero), t::Drop()});
  }
  // Before conntrack there is no connection; behind it, untracked packets have none.
  EXPECT_THAT(TcpPorts(node), ElementsAre(82));
}

}  // namespace
}  // namespace npg::rules::evaluator_test
