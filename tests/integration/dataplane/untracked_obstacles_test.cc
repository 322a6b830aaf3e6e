// SPDX-License-Identifier: Apache-2.0
// Rule sets as people have them, and whether they are in the way of untracked packets on lo.
#include "node/untracked_obstacles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "testing/command.h"
#include "testing/net_namespace.h"
#include "testing/status_asserts.h"

namespace npg::node::untracked_obstacles_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class UntrackedObstaclesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(const testing::NetNamespace own, testing::NetNamespace::Create());
    NPG_ASSERT_OK(own.Enter());
  }

  // "KIND: WHERE; FIX" of each.
  static std::vector<std::string> Found() {
    const auto obstacles = ReadUntrackedObstacles("nodeport_guard");
    EXPECT_TRUE(obstacles.ok()) << obstacles.status();
    std::vector<std::string> found;
    if (!obstacles.ok()) return found;
    for (const UntrackedObstacle& obstacle : *obstacles) {
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

  static std::vector<std::string> InChain(const std::string& hook, const std::string& rules) {
    return FoundIn(
        absl::StrCat("table inet t {\n chain other { iif lo accept; }\n chain c {\n  "
                     "type filter hook ",
                     hook, ";\n", rules, "\n }\n}\n"));
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
        "policy drop; ct state established accept; ip saddr 127.0.0.0/8 accept",
        "policy drop; ct state established accept; jump other",
        "policy drop; iif != lo ct state established accept; iif lo accept",
        "ct state established accept; ct state invalid drop",
        // Drops what is tracked, too.
        "policy drop; iifname \"eth0\" accept", "policy drop"}) {
    EXPECT_THAT(InChain("input priority 0", rules), IsEmpty()) << rules;
  }
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
