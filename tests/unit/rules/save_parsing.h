// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_RULES_SAVE_PARSING_H_
#define NODEPORT_GUARD_TESTS_UNIT_RULES_SAVE_PARSING_H_

#include <gtest/gtest.h>
#include <netinet/in.h>

// After netinet/in.h.
#include <linux/netfilter.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"
#include "rules/save_parser.h"
#include "testing/status_asserts.h"
#include "unit/rules/save_text.h"

namespace npg::testing {

// The chains of all tables, by "table/chain".
class SavedTables : public rules::SaveParser::Sink {
 public:
  void Chain(const rules::ChainName& chain) override {
    chains[absl::StrCat(chain.table.name, "/", chain.name)];
  }
  void Append(const rules::ChainName& chain, const rules::Rule& rule) override {
    auto& rules = chains[absl::StrCat(chain.table.name, "/", chain.name)];
    rules.push_back(absl::StrCat(rule.handle, ": ", RuleText::Of(rule),
                                 rule.comment.empty() ? "" : " # ", rule.comment));
  }

  std::map<std::string, std::vector<std::string>> chains;
};

struct ParsedSave {
  std::map<std::string, std::vector<std::string>> chains;
  std::vector<rules::BaseChain> base_chains;
  std::vector<std::string> skipped;
  absl::Status status;
};

// In pieces of `step` bytes.
inline ParsedSave ParseSave(absl::string_view text, size_t step = absl::string_view::npos,
                            uint8_t family = NFPROTO_IPV4) {
  SavedTables tables;
  rules::SaveParser parser(family, tables);
  for (size_t i = 0; i < text.size(); i += std::min(step, text.size())) {
    parser.Feed(text.substr(i, step));
  }
  const absl::Status status = parser.Finish();
  return {std::move(tables.chains), parser.base_chains(), parser.skipped(), status};
}

// Words of a rule, as text; in a table with the chains KUBE-SVC and FOO.
inline std::string SavedRuleText(absl::string_view words, uint8_t family = NFPROTO_IPV4) {
  const ParsedSave parsed = ParseSave(
      absl::StrCat("*t\n:C - [0:0]\n:KUBE-SVC - [0:0]\n:FOO - [0:0]\n-A C ", words, "\nCOMMIT\n"),
      absl::string_view::npos, family);
  NPG_EXPECT_OK(parsed.status);
  const std::vector<std::string>& rules = parsed.chains.at("t/C");
  return rules.empty() ? "skipped" : rules.front().substr(3);
}

inline void ExpectSameSave(const ParsedSave& a, const ParsedSave& b) {
  EXPECT_EQ(a.chains, b.chains);
  EXPECT_EQ(a.base_chains, b.base_chains);
  EXPECT_EQ(a.skipped, b.skipped);
  EXPECT_EQ(a.status, b.status);
}

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_UNIT_RULES_SAVE_PARSING_H_
