// SPDX-License-Identifier: Apache-2.0
// Rule sets as people have them, and whether they are in the way of untracked packets on lo.
#include "node/untracked_obstacles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "testing/command.h"
#include "testing/net_namespace.h"
#include "testing/status_asserts.h"

namespace npg::node::untracked_obstacles_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class UntrackedObstaclesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(const testing::NetNamespace own, testing::NetNamespace::Create());
    NPG_ASSERT_OK(own.Enter());
  }

  static std::vector<UntrackedObstacle> Obstacles() {
    const auto obstacles = ReadUntrackedObstacles("nodeport_guard");
    EXPECT_TRUE(obstacles.ok()) << obstacles.status();
    return obstacles.value_or(std::vector<UntrackedObstacle>());
  }

  // "KIND: WHERE; FIX" of each.
  static std::vector<std::string> Found() {
    std::vector<std::string> found;
    for (const UntrackedObstacle& obstacle : Obstacles()) {
      found.push_back(
          absl::StrCat(obstacle.kind == UntrackedObstacle::Kind::kTracks ? "tracks: " : "drops: ",
                       obstacle.where, "; ", obstacle.fix));
    }
    return found;
  }

  static std::vector<std::string> FoundIn(const std::string& rules) {
    NPG_EXPECT_OK(
        testing::RunCommand({"nft", "-f", "-"}, absl::StrCat("flush ruleset\n", rules)).status());
    return Found();
  }

  static std::string Chain(const std::string& hook, const std::string& rules) {
    return absl::StrCat(
        "table inet t {\n chain other { iif lo accept; }\n chain c {\n  "
        "type filter hook ",
        hook, ";\n", rules, "\n }\n}\n");
  }

  static std::vector<std::string> InChain(const std::string& hook, const std::string& rules) {
    return FoundIn(Chain(hook, rules));
  }

  // "TEXT (family F)", or "TEXT (family F, not certain)", of each.
  static std::vector<std::string> TextsOf(const std::string& rules) {
    NPG_EXPECT_OK(
        testing::RunCommand({"nft", "-f", "-"}, absl::StrCat("flush ruleset\n", rules)).status());
    std::vector<std::string> texts;
    for (const UntrackedObstacle& obstacle : Obstacles()) {
      texts.push_back(absl::StrCat(ToString(obstacle), " (family ", obstacle.family,
                                   obstacle.certain ? ")" : ", not certain)"));
    }
    return texts;
  }
};

TEST_F(UntrackedObstaclesTest, ZonesThatPacketsOfLoopbackGet) {
  for (const char* rule :
       {"ct zone set 7", "ct original zone set 7", "ct reply zone set 7", "oif lo ct zone set 7",
        "oifname \"lo\" counter ct original zone set 7", "tcp dport 80 ct zone set 7"}) {
    EXPECT_THAT(
        InChain("output priority raw", rule),
        ElementsAre(HasSubstr("tracks: nft table inet t, chain c; nft insert rule inet t c")))
        << rule;
  }
  for (const char* rule :
       {"oifname \"eth0\" ct zone set 7", "oif != lo ct zone set 7", "ct state new ct zone set 7",
        "oif lo accept; ct zone set 7", "accept", "ct mark set 1"}) {
    EXPECT_THAT(InChain("output priority raw", rule), IsEmpty()) << rule;
  }
}

TEST_F(UntrackedObstaclesTest, HooksOnWhichAZoneMatters) {
  for (const char* hook : {"output priority -400", "output priority 100", "postrouting priority 0",
                           "prerouting priority raw"}) {
    EXPECT_THAT(InChain(hook, "ct zone set 7"), ElementsAre(HasSubstr("tracks: "))) << hook;
  }
  for (const char* hook : {"prerouting priority -150", "input priority 0", "forward priority 0"}) {
    EXPECT_THAT(InChain(hook, "ct zone set 7"), IsEmpty()) << hook;
  }
  EXPECT_THAT(
      FoundIn("table inet t {\n chain zones { ct zone set 7; }\n chain c { type filter hook "
              "output priority 0; meta l4proto tcp jump zones; }\n}\n"),
      ElementsAre(HasSubstr("nft table inet t, chain zones")));
  EXPECT_THAT(FoundIn("table inet nodeport_guard { chain c { type filter hook output priority 0; "
                      "ct zone set 7; }; }\n"),
              IsEmpty())
      << "the guard's own table";
}

TEST_F(UntrackedObstaclesTest, FirewallsThatAcceptByStateAlone) {
  for (const char* rules :
       {"policy drop; ct state established,related accept",
        "policy drop; ct state { established, related } accept; ct state invalid drop",
        "policy drop; ct state vmap { established : accept, related : accept, invalid : drop }",
        "ct state established,related accept; tcp dport 22 accept; drop",
        "ct state established,related accept; reject",
        "policy drop; ct state new tcp dport { 22, 30000-32767 } accept; ct state established "
        "accept",
        "policy drop; iifname \"eth0\" accept; ct state established accept"}) {
    EXPECT_THAT(InChain("input priority 0", rules),
                ElementsAre(HasSubstr("drops: nft table inet t, chain c; nft insert rule inet t c "
                                      "iif lo accept")))
        << rules;
  }
}

TEST_F(UntrackedObstaclesTest, FirewallsThatLetUntrackedPacketsOfLoopbackIn) {
  for (const char* rules :
       {"policy drop; iif lo accept; ct state established,related accept",
        "policy drop; ct state established,related accept; iifname \"lo\" accept",
        "policy drop; ct state established,related,untracked accept",
        "policy drop; ct state vmap { established : accept }; iif lo counter accept",
        "policy drop; ct state { established, related, untracked } accept",
        "policy drop; ct state vmap { established : accept, untracked : accept }",
        "policy drop; ct state vmap { established : accept, untracked : jump other }",
        "policy drop; ct state established accept; ip saddr 127.0.0.0/8 accept; ip6 saddr ::1 "
        "accept",
        "policy drop; ct state established accept; jump other",
        "policy drop; iif != lo ct state established accept; iif lo accept",
        "ct state established accept; ct state invalid drop", "ct state invalid drop",
        "iif lo accept; ct state untracked drop",
        // Drops what is tracked, too.
        "policy drop; iifname \"eth0\" accept", "policy drop",
        "policy drop; iifname \"eth0\" ct state established,related accept"}) {
    EXPECT_THAT(InChain("input priority 0", rules), IsEmpty()) << rules;
  }
}

// As those of the CIS benchmarks, which accept lo in input only.
TEST_F(UntrackedObstaclesTest, FirewallsOnOtherHooks) {
  constexpr const char* kByState = "policy drop; ct state new,established,related accept";
  for (const auto& [hook, expression] :
       std::vector<std::pair<std::string, std::string>>{{"output priority 0", "oif lo"},
                                                        {"postrouting priority 0", "oif lo"},
                                                        {"prerouting priority -300", "iif lo"},
                                                        {"input priority 0", "iif lo"}}) {
    EXPECT_THAT(InChain(hook, kByState),
                ElementsAre(HasSubstr(absl::StrCat("drops: nft table inet t, chain c; nft insert "
                                                   "rule inet t c ",
                                                   expression, " accept"))))
        << hook;
    EXPECT_THAT(InChain(hook, absl::StrCat(kByState, "; ", expression, " accept")), IsEmpty())
        << hook;
  }
  EXPECT_THAT(InChain("forward priority 0", kByState), IsEmpty());
  // No packet has a state there.
  EXPECT_THAT(InChain("output priority -400", kByState), IsEmpty());
}

TEST_F(UntrackedObstaclesTest, RulesThatDropByState) {
  for (const char* rule :
       {"ct state untracked drop", "ct state invalid,untracked drop",
        "ct state { invalid, untracked } drop",
        "ct state vmap { established : accept, untracked : drop }",
        "ct state != { established, related } drop", "ct state untracked reject"}) {
    EXPECT_THAT(TextsOf(Chain("input priority 0", rule)),
                ElementsAre(AllOf(HasSubstr("nft table inet t, chain c drops untracked packets"),
                                  HasSubstr("(family 1)"))))
        << rule;
  }
  EXPECT_THAT(TextsOf("table inet t {\n chain inner { ct state untracked drop; }\n chain c { type "
                      "filter hook output priority 0; jump inner; }\n}\n"),
              ElementsAre(HasSubstr("chain c drops untracked packets (chain inner, handle ")));
}

TEST_F(UntrackedObstaclesTest, WhatIsNotForAllPacketsOfLoopbackIsNotCertain) {
  for (const char* rule :
       {"meta l4proto udp ct state untracked drop", "meta mark 7 ct state untracked drop",
        "iifname { \"eth0\", \"eth1\" } ct state untracked drop"}) {
    EXPECT_THAT(TextsOf(Chain("input priority 0", rule)),
                ElementsAre(AllOf(HasSubstr("may drop untracked packets (handle "),
                                  HasSubstr("not certain"))))
        << rule;
  }
  for (const char* rules :
       {"policy drop; iifname vmap { \"lo\" : accept, \"eth0\" : drop }; ct state established "
        "accept",
        "policy drop; iifname { \"lo\", \"eth0\" } accept; ct state established accept"}) {
    EXPECT_THAT(TextsOf(Chain("input priority 0", rules)),
                ElementsAre(AllOf(HasSubstr("may drop untracked packets of lo (its policy)"),
                                  HasSubstr("not certain"))))
        << rules;
  }
  for (const char* rule :
       {"oifname { \"eth0\", \"eth1\" } ct zone set 5", "meta mark 7 ct zone set 7",
        "tcp dport 9999 ct zone set 7", "ct zone set oifname map { \"eth0\" : 5 }",
        "oifname { \"lo\" , \"eth0\" } accept; ct zone set 7"}) {
    EXPECT_THAT(TextsOf(Chain("output priority raw", rule)),
                ElementsAre(AllOf(HasSubstr("may set a conntrack zone"), HasSubstr("not certain"))))
        << rule;
  }
  EXPECT_THAT(
      TextsOf(Chain("output priority raw", "meta mark 7 ct zone set 7; ct zone set 8")),
      ElementsAre(AllOf(HasSubstr("chain c sets a conntrack zone"), HasSubstr("(family 1)"))));
}

TEST_F(UntrackedObstaclesTest, FamiliesOfPackets) {
  for (const auto& [family, number] :
       std::vector<std::pair<std::string, int>>{{"inet", 1}, {"ip", 2}, {"ip6", 10}}) {
    EXPECT_THAT(TextsOf(absl::StrCat("table ", family,
                                     " t { chain c { type filter hook input priority 0; ct state "
                                     "untracked drop; }; }\n")),
                ElementsAre(HasSubstr(absl::StrCat("(family ", number, ")"))));
  }
  EXPECT_THAT(TextsOf(Chain("input priority 0", "meta nfproto ipv6 ct state untracked drop")),
              ElementsAre(HasSubstr("(family 10)")));
  EXPECT_THAT(TextsOf(Chain("input priority 0",
                            "policy drop; ct state established accept; "
                            "ip saddr 127.0.0.0/8 accept")),
              ElementsAre(HasSubstr("(family 10)")));
  EXPECT_THAT(TextsOf(Chain("output priority raw", "ip daddr 127.0.0.0/8 ct zone set 7")),
              ElementsAre(HasSubstr("(family 2)")));
}

TEST_F(UntrackedObstaclesTest, FirewallsOfIptablesNft) {
  for (const std::string command : {"iptables", "ip6tables"}) {
    NPG_ASSERT_OK(testing::RunCommand({"nft", "flush", "ruleset"}).status());
    const auto run = [&](const std::vector<std::string>& arguments) {
      std::vector<std::string> all = {command + "-nft"};
      all.insert(all.end(), arguments.begin(), arguments.end());
      return testing::RunCommand(all).status();
    };
    NPG_ASSERT_OK(run(
        {"-A", "INPUT", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"}));
    EXPECT_THAT(Found(), IsEmpty());
    NPG_ASSERT_OK(run({"-P", "INPUT", "DROP"}));
    EXPECT_THAT(Found(), ElementsAre(HasSubstr(
                             absl::StrCat("chain INPUT; ", command, " -I INPUT -i lo -j ACCEPT"))));
    NPG_ASSERT_OK(run({"-A", "INPUT", "-i", "lo", "-j", "ACCEPT"}));
    EXPECT_THAT(Found(), IsEmpty());
    NPG_ASSERT_OK(run({"-D", "INPUT", "-i", "lo", "-j", "ACCEPT"}));
    NPG_ASSERT_OK(
        run({"-A", "INPUT", "-m", "conntrack", "--ctstate", "UNTRACKED", "-j", "ACCEPT"}));
    EXPECT_THAT(Found(), IsEmpty());
    for (const std::vector<std::string>& states : std::vector<std::vector<std::string>>{
             {"--ctstate", "INVALID,UNTRACKED"}, {"!", "--ctstate", "ESTABLISHED,RELATED"}}) {
      std::vector<std::string> rule = {"-t", "mangle", "-A", "OUTPUT", "-m", "conntrack"};
      rule.insert(rule.end(), states.begin(), states.end());
      rule.emplace_back("-j");
      rule.emplace_back("DROP");
      NPG_ASSERT_OK(run(rule));
      EXPECT_THAT(Found(),
                  ElementsAre(HasSubstr(absl::StrCat("chain OUTPUT; ", command,
                                                     " -t mangle -I OUTPUT -o lo -j ACCEPT"))));
      NPG_ASSERT_OK(run({"-t", "mangle", "-F", "OUTPUT"}));
    }
  }
}

// People call their own tables like those of iptables.
TEST_F(UntrackedObstaclesTest, TablesOfNftWithNamesOfIptables) {
  EXPECT_THAT(FoundIn("table ip filter { chain input { type filter hook input priority 0; policy "
                      "drop; ct state established accept; }; }\n"),
              ElementsAre(HasSubstr("drops: nft table ip filter, chain input; nft insert rule ip "
                                    "filter input iif lo accept")));
  EXPECT_THAT(FoundIn("table ip raw {\n chain zones { ct zone set 7; }\n chain out { type filter "
                      "hook output priority raw; jump zones; }\n}\n"),
              ElementsAre(HasSubstr("tracks: nft table ip raw, chain zones")));
  // A rule that nft added to a chain of iptables.
  EXPECT_THAT(FoundIn("table ip raw { chain OUTPUT { type filter hook output priority raw; ct zone "
                      "set 7; }; }\n"),
              ElementsAre(HasSubstr("tracks: iptables-nft table ip raw, chain OUTPUT")));
}

// Each chain jumps twice to the next one: 2^14 ways, and each chain is walked once.
TEST_F(UntrackedObstaclesTest, ManyWaysThroughFewChains) {
  std::string rules = "table inet t {\n chain c14 { counter; }\n";
  for (int i = 13; i > 0; --i) {
    const std::string jump = absl::StrCat("jump c", i + 1, "; ");
    absl::StrAppend(&rules, " chain c", i, " { ", jump, jump, "}\n");
  }
  absl::StrAppend(&rules,
                  " chain c { type filter hook input priority 0; policy drop; ct state established "
                  "accept; jump c1; jump c1; }\n}\n");
  EXPECT_THAT(FoundIn(rules), ElementsAre(HasSubstr("drops: nft table inet t, chain c")));
}

TEST_F(UntrackedObstaclesTest, ACacheNoticesChangesAndWhatIsAskedFor) {
  ObstacleCache cache;
  const auto count = [&cache](const ObstacleQuery& query) {
    const auto found = cache.Read("nodeport_guard", query);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? found->size() : 0;
  };
  EXPECT_EQ(count({}), 0U);
  NPG_ASSERT_OK(testing::RunCommand({"nft", "-f", "-"},
                                    "table inet t { chain c { type filter hook output priority 0; "
                                    "ct zone set 7; ct state untracked drop; }; }\n")
                    .status());
  EXPECT_EQ(count({}), 2U);
  EXPECT_EQ(count({}), 2U);
  EXPECT_EQ(count({.tracks = true, .drops = false}), 1U);
  EXPECT_EQ(count({.tracks = false, .drops = true}), 1U);
  NPG_ASSERT_OK(
      testing::RunCommand({"nft", "insert", "rule", "inet", "t", "c", "oif", "lo", "accept"})
          .status());
  EXPECT_EQ(count({}), 0U);
}

TEST_F(UntrackedObstaclesTest, ASearchCanBeStopped) {
  NPG_ASSERT_OK(testing::RunCommand({"nft", "-f", "-"},
                                    "table inet t { chain c { type filter hook output priority 0; "
                                    "ct zone set 7; }; }\n")
                    .status());
  std::atomic<bool> stop = true;
  ObstacleQuery query;
  query.stop = &stop;
  ObstacleCache cache;
  EXPECT_EQ(cache.Read("nodeport_guard", query).status().code(), absl::StatusCode::kUnavailable);
  stop = false;
  NPG_ASSERT_OK_AND_ASSIGN(const std::vector<UntrackedObstacle> found,
                           cache.Read("nodeport_guard", query));
  EXPECT_EQ(found.size(), 1U);
}

TEST_F(UntrackedObstaclesTest, ThoseOfOtherFamiliesAreLeftOut) {
  std::vector<UntrackedObstacle> all;
  for (const int family : {0, 1, 2, 10}) {
    all.emplace_back();
    all.back().family = static_cast<uint8_t>(family);
  }
  EXPECT_EQ(OfFamilies(all, true, true).size(), 4U);
  EXPECT_EQ(OfFamilies(all, true, false).size(), 3U);
  EXPECT_EQ(OfFamilies(all, false, true).size(), 3U);
  EXPECT_EQ(OfFamilies(all, true, false).back().family, 2);
}

// What is not known is not "none".
TEST_F(UntrackedObstaclesTest, TooManyChainsAreNotNone) {
  constexpr int kChains = 600;
  std::string chains;
  std::string jumps;
  for (int i = 0; i < kChains; ++i) {
    absl::StrAppend(&chains, " chain c", i, " { counter; }\n");
    absl::StrAppend(&jumps, "  jump c", i, "\n");
  }
  NPG_ASSERT_OK(testing::RunCommand({"nft", "-f", "-"},
                                    absl::StrCat("table inet t {\n", chains,
                                                 " chain c { type filter hook output priority 0;\n",
                                                 jumps, " }\n}\n"))
                    .status());
  const auto obstacles = ReadUntrackedObstacles("nodeport_guard");
  EXPECT_EQ(obstacles.status().code(), absl::StatusCode::kUnavailable) << obstacles.status();
}

}  // namespace
}  // namespace npg::node::untracked_obstacles_test
