// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
// After netinet/in.h, which the kernel's headers then respect.
#include <linux/netfilter.h>

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cli/args/options.h"
#include "cli/explain_report.h"
#include "cli/table.h"
#include "core/listener.h"
#include "core/port.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/rule.h"
#include "testing/status_asserts.h"
#include "unit/inspect/facts.h"

namespace npg::cli::explain_rules_test {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using Json = nlohmann::ordered_json;

constexpr core::PortKey kTcp = {30080, core::Protocol::kTcp};
const char* const kHere = "127.0.0.1";

rules::TraceStep Step(absl::string_view chain, uint64_t rule, absl::string_view verdict,
                      absl::string_view comment = "") {
  rules::TraceStep step;
  step.chain = {{rules::Engine::kNfTables, NFPROTO_IPV4, "nat"}, std::string(chain)};
  step.rule = rule;
  step.verdict = std::string(verdict);
  step.comment = std::string(comment);
  return step;
}

rules::Trace Redirected(const std::string& destination = "10.244.1.2:8080") {
  rules::Trace trace;
  trace.outcome = rules::Outcome::kRedirected;
  trace.destination = destination;
  trace.steps = {Step("KUBE-NODEPORTS", 5, "jump KUBE-SEP-X", "default/web:http"),
                 Step("KUBE-SEP-X", 7, absl::StrCat("DNAT to ", destination), "default/web:http")};
  return trace;
}

bool NoIpVs(const core::PortKey& /*key*/, const std::array<uint8_t, 16>& /*address*/) {
  return false;
}

rules::Trace Ended(rules::Outcome outcome, std::vector<rules::TraceStep> steps) {
  rules::Trace trace;
  trace.outcome = outcome;
  trace.steps = std::move(steps);
  return trace;
}

std::string SentenceOf(const rules::Trace& trace) {
  return RulesSentence(kTcp, {"127.0.0.1:30080", trace, false, ""});
}

TEST(ExplainRulesTest, ASentenceForEachOutcome) {
  EXPECT_EQ(SentenceOf(Redirected()),
            "Without the guard, a connect to 127.0.0.1:30080 is redirected to 10.244.1.2:8080 by "
            "nft table ip nat, chain KUBE-SEP-X, handle 7 (default/web:http).");
  EXPECT_EQ(SentenceOf(Ended(rules::Outcome::kHost, {})),
            "Without the guard, a connect to 127.0.0.1:30080 reaches the host.");
  EXPECT_EQ(SentenceOf(Ended(rules::Outcome::kRefused, {Step("EXT", 9, "REJECT")})),
            "Without the guard, a connect to 127.0.0.1:30080 is refused by nft table ip nat, chain "
            "EXT, handle 9.");
  EXPECT_EQ(SentenceOf(Ended(rules::Outcome::kFirewall, {Step("INPUT", 0, "drop")})),
            "Without the guard, a connect to 127.0.0.1:30080 is refused by a firewall rule, "
            "tracked or not: nft table ip nat, chain INPUT, policy.");
  rules::Trace unknown = Ended(rules::Outcome::kUnknown, {Step("OUTPUT", 5, "?")});
  unknown.unknown = "nft table ip nat, chain OUTPUT, handle 5: match u32 cannot be evaluated";
  EXPECT_EQ(SentenceOf(unknown),
            "What happens to a connect to 127.0.0.1:30080 without the guard cannot be told: nft "
            "table ip nat, chain OUTPUT, handle 5: match u32 cannot be evaluated.");
}

TEST(ExplainRulesTest, SentencesOfUdpLegacyAndChance) {
  rules::Trace trace = Redirected();
  trace.sometimes = true;
  trace.steps.back().chain.table = {rules::Engine::kLegacy, NFPROTO_IPV6, "nat"};
  EXPECT_EQ(RulesSentence({53, core::Protocol::kUdp}, {"[::1]:53", trace, false, ""}),
            "Without the guard, a UDP connect to [::1]:53 sometimes is redirected to "
            "10.244.1.2:8080 by ip6tables-legacy table nat, chain KUBE-SEP-X, rule 7 "
            "(default/web:http).");
}

TEST(ExplainRulesTest, OtherAddressesOfAWildcard) {
  const core::AddressSet own = {inspect::Address("10.0.0.5"), inspect::Address("10.0.0.4"),
                                inspect::Address("2001:db8::5"), inspect::Address("fe80::1")};
  const auto of = [&own](std::optional<core::Listener> listener) {
    std::vector<std::string> texts;
    for (const std::array<uint8_t, 16>& address : OtherAddresses(own, listener)) {
      texts.push_back(core::AddressText(address));
    }
    return texts;
  };
  EXPECT_THAT(of(std::nullopt), ElementsAre("10.0.0.4", "10.0.0.5", "[2001:db8::5]"));
  core::Listener listener = inspect::MakeListener("::", 30080, "web", 1);
  EXPECT_THAT(of(listener), SizeIs(3));
  listener.v6only = true;
  EXPECT_THAT(of(listener), ElementsAre("[2001:db8::5]"));
  EXPECT_THAT(of(inspect::MakeListener("0.0.0.0", 30080, "web", 1)),
              ElementsAre("10.0.0.4", "10.0.0.5"));
  EXPECT_THAT(of(inspect::MakeListener("127.0.0.1", 30080, "web", 1)), IsEmpty());
}

// An externalIP on the node's own address: rules take it there, and nothing on loopback.
TEST(ExplainRulesTest, AddressesWithAnotherOutcome) {
  const std::array<uint8_t, 16> taken = inspect::Address("10.0.0.5");
  const auto trace = [&taken](const rules::Connect& connect,
                              uint16_t port) -> absl::StatusOr<rules::Trace> {
    EXPECT_EQ(port, 30080);
    EXPECT_EQ(connect.protocol, core::Protocol::kTcp);
    return connect.address == taken ? Redirected() : rules::Trace();
  };
  NPG_ASSERT_OK_AND_ASSIGN(const WalkRules rules,
                           FollowRules(kTcp, inspect::Address(kHere),
                                       {inspect::Address("10.0.0.4"), taken}, trace, NoIpVs));
  ASSERT_THAT(rules.elsewhere, SizeIs(1));
  EXPECT_EQ(rules.elsewhere[0].destination, "10.0.0.5:30080");
  EXPECT_THAT(RulesSentences(rules),
              ElementsAre("Without the guard, a connect to 127.0.0.1:30080 reaches the host.",
                          HasSubstr("a connect to 10.0.0.5:30080 is redirected to")));
  Json json;
  AddRulesJson(rules, json);
  EXPECT_EQ(json["rules"], Json::array());
  EXPECT_EQ(json["without_guard"]["outcome"], "host");
  EXPECT_EQ(json["own_addresses"][0]["without_guard"]["destination"], "10.244.1.2:8080");
}

TEST(ExplainRulesTest, ShowsEightAddresses) {
  std::vector<std::array<uint8_t, 16>> others;
  for (int i = 1; i <= 11; ++i) others.push_back(inspect::Address(absl::StrCat("10.0.0.", i)));
  const auto trace = [](const rules::Connect& connect,
                        uint16_t /*port*/) -> absl::StatusOr<rules::Trace> {
    return core::IsLoopback(connect.address) ? rules::Trace() : Redirected();
  };
  NPG_ASSERT_OK_AND_ASSIGN(const WalkRules rules,
                           FollowRules(kTcp, inspect::Address(kHere), others, trace, NoIpVs));
  EXPECT_THAT(rules.elsewhere, SizeIs(8));
  EXPECT_THAT(RulesSentences(rules), SizeIs(10));
  EXPECT_THAT(RulesSentences(rules).back(), EndsWith("for 3 more addresses of this node."));
}

TEST(ExplainRulesTest, IpVsTakesWhatNoRuleTakes) {
  const auto trace = [](const rules::Connect& /*connect*/, uint16_t /*port*/) {
    return absl::StatusOr<rules::Trace>(rules::Trace());
  };
  const auto ip_vs = [](const core::PortKey& key, const std::array<uint8_t, 16>& address) {
    return key == kTcp && !core::IsLoopback(address);
  };
  NPG_ASSERT_OK_AND_ASSIGN(
      std::optional<WalkRules> rules,
      FollowRules(kTcp, inspect::Address(kHere), {inspect::Address("10.0.0.4")}, trace, ip_vs));
  EXPECT_THAT(RulesSentences(*rules),
              ElementsAre("Without the guard, a connect to 127.0.0.1:30080 reaches the host.",
                          "Without the guard, a connect to 10.0.0.4:30080 is redirected by IPVS."));
  Json json;
  AddRulesJson(rules, json);
  EXPECT_EQ(json["own_addresses"][0]["without_guard"]["outcome"], "redirected");
}

TEST(ExplainRulesTest, AnErrorOfTheRulesIsPassedOn) {
  const auto trace = [](const rules::Connect& /*connect*/, uint16_t /*port*/) {
    return absl::StatusOr<rules::Trace>(absl::PermissionDeniedError("no"));
  };
  EXPECT_TRUE(absl::IsPermissionDenied(
      FollowRules(kTcp, inspect::Address(kHere), {}, trace, NoIpVs).status()));
}

// Where rules are missing, only a rule that was seen decides.
TEST(ExplainRulesTest, ReachesTheHostOnlyIfAllWasRead) {
  std::optional<WalkRules> rules =
      WalkRules{{"a:1", Redirected(), false, ""}, {{"b:1", {}, false, ""}}, 0};
  KeepDecided(rules);
  ASSERT_TRUE(rules.has_value());
  EXPECT_THAT(rules->elsewhere, IsEmpty());
  rules->way.trace = {};
  KeepDecided(rules);
  EXPECT_FALSE(rules.has_value());
}

class ExplainWithRulesTest : public ::testing::Test {
 protected:
  static ExplainReport Report() {
    ExplainOptions options;
    options.port = 33589;
    return MakeExplainReport(inspect::MakeFacts(), options);
  }
  static WalkRules Rules() {
    rules::Trace trace = Redirected();
    trace.steps[1].sometimes = true;
    trace.steps[1].comment = std::string(50, 'c');
    return {{"127.0.0.1:33589", trace, false, "S."}, {}, 0};
  }
};

TEST_F(ExplainWithRulesTest, TableAndSentence) {
  ExplainReport report = Report();
  ASSERT_THAT(report.walks, SizeIs(1));
  EXPECT_EQ(report.walks[0].address, inspect::Address(kHere));
  report.walks[0].rules = Rules();
  const std::string text = RenderExplain(report, Style{200, false});
  EXPECT_THAT(text, HasSubstr("Rules that a connect to 127.0.0.1:33589 meets without the guard:"));
  EXPECT_THAT(text, HasSubstr("handle 5 (default/web:http)"));
  EXPECT_THAT(text, HasSubstr(absl::StrCat("handle 7 (", std::string(40, 'c'), "...)")));
  EXPECT_THAT(text, HasSubstr("DNAT to 10.244.1.2:8080 (sometimes)"));
  EXPECT_THAT(text, EndsWith("owns the NodePort.\nS.\n"));
}

TEST_F(ExplainWithRulesTest, Json) {
  ExplainReport report = Report();
  report.walks[0].rules = Rules();
  const Json json = ExplainJson(report);
  const Json& walk = json["walks"][0];
  ASSERT_THAT(walk["rules"], SizeIs(2));
  EXPECT_EQ(walk["rules"][0], Json({{"hook", "output"},
                                    {"table", "nft table ip nat"},
                                    {"chain", "KUBE-NODEPORTS"},
                                    {"rule", 5},
                                    {"comment", "default/web:http"},
                                    {"verdict", "jump KUBE-SEP-X"},
                                    {"sometimes", false}}));
  EXPECT_EQ(walk["without_guard"], Json({{"outcome", "redirected"},
                                         {"destination", "10.244.1.2:8080"},
                                         {"sometimes", false},
                                         {"sentence", "S."}}));
  EXPECT_TRUE(json["rules_unread"].is_null());
}

TEST_F(ExplainWithRulesTest, WithoutTheRightToReadRules) {
  ExplainReport report = Report();
  report.rules_unread = "read the rules: Operation not permitted";
  const std::string text = RenderExplain(report, Style{200, false});
  EXPECT_THAT(text, EndsWith("\nRules were not read: read the rules: Operation not permitted.\n"));
  EXPECT_THAT(text, Not(HasSubstr("Without the guard")));
  const Json json = ExplainJson(report);
  EXPECT_TRUE(json["walks"][0]["rules"].is_null());
  EXPECT_TRUE(json["walks"][0]["without_guard"].is_null());
  EXPECT_EQ(json["rules_unread"], report.rules_unread);
}

}  // namespace
}  // namespace npg::cli::explain_rules_test
