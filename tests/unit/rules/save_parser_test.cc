// SPDX-License-Identifier: Apache-2.0
#include "rules/save_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

// After netinet/in.h.
#include <linux/netfilter.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"
#include "testing/byte_step.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"
#include "unit/rules/save_parsing.h"

namespace npg::rules::save_parser_test {
namespace {

using testing::ExpectSameSave;
using testing::GunzipTestdata;
using testing::kByteStep;
using testing::ParsedSave;
using testing::ParseSave;
using testing::ReadTestdata;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

TEST(SaveParserTest, DamagedLinesAreSkippedByName) {
  const ParsedSave parsed = ParseSave(
      "lost\n*nat\n:A - [0:0]\n:B\n-A A -j ACCEPT\n-A A -j\n-A GONE -j DROP\n-X A\n-A\n"
      "[1:2] -A A -j DROP\n:A - [0:0]\nCOMMIT\n");
  NPG_EXPECT_OK(parsed.status);
  EXPECT_THAT(parsed.chains.at("nat/A"), ElementsAre("1: -> accept", "3: -> drop"));
  EXPECT_THAT(parsed.skipped,
              ElementsAre("line 1: \"lost\" is in no table", "line 4: \":B\" is not a chain",
                          "line 6: \"-A A -j\" is not a rule of iptables-save",
                          "line 7: \"-A GONE -j DROP\" is in a chain that is not declared",
                          "line 8: \"-X A\" is not a rule", "line 9: \"-A\" is not a rule",
                          "line 11: \":A - [0:0]\" is a chain again"));
}

TEST(SaveParserTest, ManyAndLongDamagedLinesTakeLittleMemory) {
  std::string text;
  for (int i = 0; i < 150; ++i) absl::StrAppend(&text, "lost\n");
  EXPECT_THAT(ParseSave(text).skipped, SizeIs(101));
  EXPECT_EQ(ParseSave(text).skipped.back(), "and 50 more");
  const std::string rule = absl::StrCat("*t\n:A - [0:0]\n-A A -j ", std::string(70000, 'X'));
  for (const size_t step : {size_t{1000}, rule.size()}) {
    const ParsedSave parsed = ParseSave(rule + "\n-A A -j DROP\nCOMMIT\n", step);
    EXPECT_THAT(parsed.skipped, ElementsAre(StartsWith("line 3: \"-A A -j XXX")));
    EXPECT_THAT(parsed.chains.at("t/A"), ElementsAre("1: -> drop"));
  }
}

BaseChain Base(std::string table, std::string chain, uint32_t hook, int32_t priority) {
  BaseChain base;
  base.nat = table == "nat";
  base.chain = {{Engine::kLegacy, NFPROTO_IPV4, std::move(table)}, std::move(chain)};
  base.hook = hook;
  base.priority = priority;
  return base;
}

TEST(SaveParserTest, BaseChainsAreThoseOfLocalOutputAndInput) {
  std::string text;
  for (const absl::string_view table : {"raw", "mangle", "nat", "filter", "security", "own"}) {
    absl::StrAppend(&text, "*", table, "\n:PREROUTING ACCEPT [0:0]\n");
    if (table != "raw") absl::StrAppend(&text, ":INPUT ACCEPT [5:300]\n");
    absl::StrAppend(&text, ":OUTPUT ", table == "filter" ? "DROP" : "ACCEPT", " [0:0]\nCOMMIT\n");
  }
  BaseChain dropping = Base("filter", "OUTPUT", NF_INET_LOCAL_OUT, 0);
  dropping.drops = true;
  const ParsedSave parsed = ParseSave(text);
  EXPECT_THAT(parsed.base_chains,
              ElementsAre(Base("raw", "OUTPUT", NF_INET_LOCAL_OUT, -300),
                          Base("mangle", "INPUT", NF_INET_LOCAL_IN, -150),
                          Base("mangle", "OUTPUT", NF_INET_LOCAL_OUT, -150),
                          Base("nat", "OUTPUT", NF_INET_LOCAL_OUT, -100),
                          Base("filter", "INPUT", NF_INET_LOCAL_IN, 0), dropping,
                          Base("security", "INPUT", NF_INET_LOCAL_IN, 50),
                          Base("security", "OUTPUT", NF_INET_LOCAL_OUT, 50)));
  EXPECT_THAT(parsed.skipped, IsEmpty());
}

TEST(SaveParserTest, OneServiceOfKubeProxy) {
  const ParsedSave parsed = ParseSave(ReadTestdata("kube-proxy-1.36-iptables.save"));
  NPG_EXPECT_OK(parsed.status);
  EXPECT_THAT(parsed.skipped, IsEmpty());
  EXPECT_THAT(parsed.chains.at("nat/KUBE-NODEPORTS"),
              ElementsAre("1: dst=7f000000-7fffffff protocol=6 dport=8707 -> jump "
                          "KUBE-EXT-CDGGSHYLG3RE2FKL # default/web:http",
                          "2: protocol=6 dport=8707 -> jump KUBE-EXT-CDGGSHYLG3RE2FKL # "
                          "default/web:http"));
  EXPECT_THAT(parsed.chains.at("nat/KUBE-SEP-UIQK3OSOSTRHRPBX"),
              ElementsAre("1: src=af40102 -> jump KUBE-MARK-MASQ # default/web:http",
                          "2: protocol=6 -> dnat to af40102 port 1f90 # default/web:http"));
  EXPECT_THAT(parsed.chains.at("filter/KUBE-FIREWALL"),
              ElementsAre("1: !src=7f000000-7fffffff dst=7f000000-7fffffff state&6=0 -> drop # "
                          "block incoming localnet connections"));
  EXPECT_THAT(parsed.chains.at("mangle/KUBE-PROXY-CANARY"), IsEmpty());
}

TEST(SaveParserTest, TenThousandServicesOfKubeProxy) {
  const ParsedSave parsed =
      ParseSave(GunzipTestdata("kube-proxy-1.36-iptables-10k.save.gz"), 65536);
  NPG_EXPECT_OK(parsed.status);
  EXPECT_THAT(parsed.skipped, IsEmpty());
  const std::vector<std::string>& rejects = parsed.chains.at("filter/KUBE-EXTERNAL-SERVICES");
  ASSERT_THAT(rejects, SizeIs(10001));
  for (const std::string& rule : rejects) {
    EXPECT_THAT(rule, HasSubstr(" -> reject # default/"));
    EXPECT_FALSE(absl::StrContains(rule, '?')) << rule;
  }
}

TEST(SaveParserTest, SplitAnywhereItIsTheSame) {
  const std::string text = "lost\n" + ReadTestdata("kube-proxy-1.36-iptables.save");
  const ParsedSave whole = ParseSave(text);
  for (const size_t step : {1U, 2U, 7U, 100U, 1000U}) ExpectSameSave(ParseSave(text, step), whole);
}

TEST(SaveParserTest, OutputThatEndsWithinATableIsAnError) {
  const std::string text = ReadTestdata("kube-proxy-1.36-iptables.save");
  bool within = false;
  for (size_t length = 0; length <= text.size(); length += kByteStep) {
    const absl::string_view cut = absl::string_view(text).substr(0, length);
    // A table begins at "*", and is complete with the last letter of its COMMIT.
    const size_t begin = cut.rfind("\n*");
    const size_t commit = cut.rfind("\nCOMMIT");
    within =
        begin != absl::string_view::npos && (commit == absl::string_view::npos || commit < begin);
    const ParsedSave parsed = ParseSave(cut);
    EXPECT_EQ(absl::IsInvalidArgument(parsed.status), within) << length;
    EXPECT_THAT(parsed.skipped, IsEmpty()) << length;
  }
  EXPECT_FALSE(within);
  EXPECT_EQ(ParseSave("*nat\n:A - [0:0]\n").status.message(), "the output ends within table nat");
}

}  // namespace
}  // namespace npg::rules::save_parser_test
