// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/port.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/rule.h"
#include "testing/status_asserts.h"
#include "unit/rules/rule_builders.h"

namespace npg::rules::trace_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

namespace t = npg::testing;
using t::Node;

Trace TraceTcp(Node& node, uint16_t port) {
  auto trace =
      TraceConnect(node.rules, node.reader, {core::Protocol::kTcp, t::kLocal4}, port, node.options);
  NPG_EXPECT_OK(trace);
  return trace.ok() ? *trace : Trace{};
}

std::vector<std::string> Steps(const Trace& trace) {
  std::vector<std::string> steps;
  for (const TraceStep& step : trace.steps) {
    steps.push_back(absl::StrCat(step.input ? "in " : "", step.chain.name, " ", step.rule, " ",
                                 step.verdict, step.comment.empty() ? "" : " # ", step.comment,
                                 step.sometimes ? " (sometimes)" : ""));
  }
  return steps;
}

TEST(Trace, TellsTheWayToAPod) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Jump("EMPTY")});
  node.Add(t::kNat, "OUTPUT", {t::Jump("PORTS")});
  node.Add(t::kNat, "PORTS", {t::Tcp(), t::Port(80), t::Jump("OTHER")});
  node.Add(t::kNat, "PORTS", {t::Tcp(), t::Port(81), t::Jump("EXT")}, "default/web:http");
  node.Add(t::kNat, "EXT", {t::Jump("MASQ")});
  node.Add(t::kNat, "MASQ", {t::OrMark(0x4000)});
  node.Add(t::kNat, "EXT", {t::Chance(), t::To(t::kPod, 8080)});
  node.Add(t::kNat, "EXT", {t::To(t::kPod + 1, 8080)});
  const Trace trace = TraceTcp(node, 81);
  EXPECT_EQ(trace.outcome, Outcome::kRedirected);
  EXPECT_FALSE(trace.sometimes);
  EXPECT_EQ(trace.destination, "10.244.1.2:8080");
  EXPECT_THAT(
      Steps(trace),
      ElementsAre("OUTPUT 2 jump PORTS", "PORTS 2 jump EXT # default/web:http", "EXT 1 jump MASQ",
                  "MASQ 1 mark 0x4000", "EXT 2 DNAT to 10.244.1.2:8080 (sometimes)",
                  "EXT 3 DNAT to 10.244.1.3:8080 (sometimes)"));
  EXPECT_EQ(TraceTcp(node, 82).outcome, Outcome::kHost);
  EXPECT_THAT(Steps(TraceTcp(node, 82)), IsEmpty());
}

TEST(Trace, TellsRefusalsFromFirewalls) {
  Node node;
  node.FilterInput();
  node.Add(t::kFilter, "INPUT", {t::NewState(), t::Port(80), t::Reject()});
  node.Add(t::kFilter, "INPUT", {t::Port(81), t::Drop()});
  EXPECT_EQ(TraceTcp(node, 80).outcome, Outcome::kRefused);
  EXPECT_THAT(Steps(TraceTcp(node, 80)), ElementsAre("in INPUT 1 REJECT"));
  EXPECT_EQ(TraceTcp(node, 81).outcome, Outcome::kFirewall);
  EXPECT_EQ(TraceTcp(node, 82).outcome, Outcome::kHost);
}

TEST(Trace, RecordsThePolicy) {
  Node node;
  node.Base(t::kFilter, "INPUT", NF_INET_LOCAL_IN, 0, false, true);
  const Trace trace = TraceTcp(node, 80);
  EXPECT_EQ(trace.outcome, Outcome::kFirewall);
  EXPECT_THAT(Steps(trace), ElementsAre("in INPUT 0 DROP"));
}

TEST(Trace, NamesWhatCannotBeEvaluated) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Unknown("match u32"), t::Redirect(8080)});
  const Trace trace = TraceTcp(node, 80);
  EXPECT_EQ(trace.outcome, Outcome::kUnknown);
  EXPECT_EQ(trace.unknown,
            "nft table ip nat, chain OUTPUT, handle 1: match u32 cannot be evaluated (80/tcp)");
}

TEST(Trace, SometimesReachesTheHost) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Port(80), t::Chance(), t::Redirect(8080)});
  const Trace trace = TraceTcp(node, 80);
  EXPECT_EQ(trace.outcome, Outcome::kRedirected);
  EXPECT_TRUE(trace.sometimes);
  EXPECT_EQ(trace.destination, "port 8080 of this node");
}

// "numgen random mod 2 vmap { 0 : goto A, 1 : goto B }": there is no third way.
TEST(Trace, KnowsThatRandomNumbersAreInTheirMap) {
  Node node;
  node.NatOutput();
  Operand number = t::Of(Field::kChance, 4);
  number.host_order = true;
  node.Add(t::kNat, "OUTPUT", {t::Port(80), VerdictMap{{number}, {"ends", false}}});
  Set ends;
  const std::string one("\x01\x00\x00\x00", 4);
  ends.elements.push_back({std::string(4, '\0'), std::string(4, '\0'), t::Goto("A"), "", ""});
  ends.elements.push_back({one, one, t::Goto("B"), "", ""});
  node.reader.sets[{"ends", false}] = ends;
  node.Add(t::kNat, "A", {t::To(t::kPod, 80)});
  node.Add(t::kNat, "B", {t::To(t::kPod + 1, 80)});
  const Trace trace = TraceTcp(node, 80);
  EXPECT_EQ(trace.outcome, Outcome::kRedirected);
  EXPECT_FALSE(trace.sometimes);
  EXPECT_EQ(trace.steps.size(), 4U);
}

TEST(Trace, WritesAddressesOfIpv6) {
  Node node({{core::Protocol::kTcp, t::kLocal6}});
  node.Base(t::kNat6, "OUTPUT", NF_INET_LOCAL_OUT, -100, true);
  Nat nat;
  const Value pod = (Value(0xfd00) << 112) | 1;
  nat.address = Interval{pod, pod};
  node.Add(t::kNat6, "OUTPUT", {t::Port(80), t::To(pod, 8080)});
  node.Add(t::kNat6, "OUTPUT", {t::Port(81), nat});
  const Connect connect{core::Protocol::kTcp, t::kLocal6};
  auto trace = TraceConnect(node.rules, node.reader, connect, 80, node.options);
  NPG_ASSERT_OK(trace);
  EXPECT_EQ(trace->destination, "[fd00::1]:8080");
  trace = TraceConnect(node.rules, node.reader, connect, 81, node.options);
  NPG_ASSERT_OK(trace);
  EXPECT_EQ(trace->destination, "[fd00::1]");
}

TEST(Trace, KeepsAPortOfTheHost) {
  Node node;
  node.NatOutput();
  node.Add(t::kNat, "OUTPUT", {t::Port(80), t::Redirect(80)});
  EXPECT_EQ(TraceTcp(node, 80).outcome, Outcome::kHost);
}

TEST(Trace, RefusesConnectsThatWereNotReadFor) {
  Node node;
  EXPECT_FALSE(
      TraceConnect(node.rules, node.reader, {core::Protocol::kTcp, t::kLocal6}, 80, node.options)
          .ok());
}

TEST(Trace, DoesNotKnowWhetherAFirewallRefuses) {
  Node node;
  node.FilterInput();
  node.Add(t::kFilter, "INPUT", {t::Port(80), t::Unknown("meta skgid"), t::Drop()});
  node.Add(t::kFilter, "INPUT", {t::Port(81), t::Unknown("meta skuid"), t::Accept()});
  node.Add(t::kFilter, "INPUT", {t::Port(81), t::Drop()});
  node.Add(t::kFilter, "INPUT", {t::Port(82), t::Unknown("meta skuid"), t::Drop()});
  node.Add(t::kFilter, "INPUT", {t::Port(82), t::Reject()});
  EXPECT_EQ(TraceTcp(node, 80).outcome, Outcome::kUnknown);
  EXPECT_EQ(TraceTcp(node, 80).unknown,
            "nft table ip filter, chain INPUT, handle 1: meta skgid cannot be evaluated (80/tcp)");
  EXPECT_FALSE(TraceTcp(node, 80).sometimes);
  EXPECT_EQ(TraceTcp(node, 81).outcome, Outcome::kUnknown);
  EXPECT_EQ(TraceTcp(node, 82).outcome, Outcome::kFirewall);
  EXPECT_FALSE(TraceTcp(node, 82).sometimes);
}

TEST(Trace, TellsWhichRefusalsNameThePort) {
  Node node;
  node.FilterInput();
  node.Add(t::kFilter, "INPUT", {t::NewState(), t::Port(80), t::Jump("refuse")});
  node.Add(t::kFilter, "INPUT", {t::NewState(), t::Port(100, 200), t::Reject()});
  node.Add(t::kFilter, "refuse", {t::Reject()});
  const Trace narrow = TraceTcp(node, 80);
  ASSERT_FALSE(narrow.steps.empty());
  EXPECT_TRUE(narrow.steps.back().names_port);
  const Trace wide = TraceTcp(node, 150);
  EXPECT_EQ(wide.outcome, Outcome::kRefused);
  ASSERT_FALSE(wide.steps.empty());
  EXPECT_FALSE(wide.steps.back().names_port);
}

}  // namespace
}  // namespace npg::rules::trace_test
