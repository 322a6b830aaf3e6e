// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/nft_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/nft_objects.h"
#include "core/mark.h"

namespace npg::dataplane::nft_rules_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// All that can be in the table.
NftRuleFacts Everything() {
  NftRuleFacts facts;
  facts.former_mark = core::Mark{0x2000, 0x2000};
  facts.ipvs_bypass = facts.asked = true;
  return facts;
}

// The expressions of all rules of a chain, or of all chains.
std::string TextOf(absl::string_view name = "") {
  std::string text;
  for (const NftChain& chain : MakeChains(Everything())) {
    if (!name.empty() && chain.name != name) continue;
    for (const base::NftnlRule& rule : chain.rules) absl::StrAppend(&text, RuleText(*rule));
  }
  return text;
}

// Before 6.5, the kernel counts an element that a rule deletes as one of the set for ever.
TEST(NftRulesTest, NoRuleDeletesAnElement) {
  EXPECT_THAT(TextOf(), HasSubstr("dynset add "));
  EXPECT_THAT(TextOf(), HasSubstr("dynset update "));
  EXPECT_THAT(TextOf(), Not(HasSubstr("delete")));
}

// The kernel rounds timeouts down to jiffies and lists them so: another number would never be
// equal to the rule as it was built.
TEST(NftRulesTest, TimeoutsAreWholeJiffies) {
  constexpr uint64_t kMs = 20;  // a whole number of jiffies of 10, 4, 10/3 and 1 ms
  size_t timeouts = 0;
  const std::vector<std::string> words = absl::StrSplit(TextOf(), absl::ByAnyChar(" \n"));
  for (size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] != "timeout") continue;
    uint64_t timeout = 0;
    ASSERT_TRUE(absl::SimpleAtoi(absl::StripSuffix(words[i + 1], "ms"), &timeout)) << words[i + 1];
    EXPECT_GE(timeout, kMs);
    EXPECT_EQ(timeout % kMs, 0U) << timeout;
    ++timeouts;
  }
  EXPECT_GT(timeouts, 0U);
}

TEST(NftRulesTest, OnlyAForgottenConnectionIsDropped) {
  EXPECT_THAT(TextOf("tcp_forget"), HasSubstr("drop"));
  for (const NftChain& chain : MakeChains(Everything())) {
    if (chain.name == "tcp_forget") continue;
    EXPECT_THAT(TextOf(chain.name), Not(HasSubstr("drop"))) << chain.name;
  }
}

TEST(NftRulesTest, TheChainOfWhatListenersAskIsThereOnDemand) {
  const auto hook = [](const NftRuleFacts& facts) {
    std::optional<NftHook> found;
    for (const NftChain& chain : MakeChains(facts)) {
      if (chain.name == kAskedChain) found = chain.hook;
    }
    return found;
  };
  EXPECT_EQ(hook({}), std::nullopt);
  EXPECT_EQ(hook({.asked = true}), kAskedHook);
  EXPECT_EQ(hook({.ipvs_bypass = true}), std::nullopt);
}

// What exempts nothing must not count as a flow.
TEST(NftSetSpecTest, AnswersToListenersAreNoFlows) {
  for (const NftSetSpec& set : kNftSets) {
    if (set.use != NftSetUse::kAsked) continue;
    EXPECT_FALSE(set.has_flows()) << set.name;
    EXPECT_TRUE(set.dynamic()) << set.name;
    EXPECT_EQ(set.timeout(), kDatagramTimeout) << set.name;
  }
}

TEST(NftSetSpecTest, Sizes) {
  const auto size = [](absl::string_view name) {
    return std::find_if(kNftSets.begin(), kNftSets.end(),
                        [&](const NftSetSpec& set) { return set.name == name; })
        ->size();
  };
  for (const char* set : {"tcp4", "tcp6", "half4", "half6"}) EXPECT_EQ(size(set), kTcpSetSize);
  for (const char* set :
       {"udp4", "udp6", "datagrams4", "datagrams6", "asked4", "asked6", "targets4", "targets6"}) {
    EXPECT_EQ(size(set), kSetSize);
  }
  EXPECT_EQ(size("target_ports"), NftSetSpec::kPortsSize);
}

}  // namespace
}  // namespace npg::dataplane::nft_rules_test
