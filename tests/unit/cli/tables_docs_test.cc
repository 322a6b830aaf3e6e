// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "core/decision_rows.h"
#include "core/owner_policy.h"
#include "testing/testdata.h"

// The documents name exactly the rows of the tables of abi/. A new row fails here until it
// is documented.
namespace npg::cli::tables_docs_test {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::UnorderedElementsAreArray;
using Json = nlohmann::json;
using Names = std::vector<std::string>;

template <typename R, size_t N>
Names NamesOf(const std::array<R, N>& rows) {
  Names names;
  for (const R& row : rows) names.emplace_back(row.name);
  return names;
}

Names NamesOf(abi::Counted counted) {
  Names names;
  for (const abi::CounterRow& row : abi::kCounters) {
    if (row.counted == counted) names.emplace_back(row.name);
  }
  return names;
}

Json Schema() { return Json::parse(testing::ReadSource("docs/status.schema.json")); }

// The members of an object in a schema; expects that each is required.
Names Members(const Json& schema) {
  Names members;
  for (const auto& [name, member] : schema["properties"].items()) members.push_back(name);
  EXPECT_THAT(schema["required"].get<Names>(), UnorderedElementsAreArray(members));
  return members;
}

TEST(TablesDocsTest, TheSchemaOfStatusHasEveryCounter) {
  EXPECT_THAT(Members(Schema()["properties"]["counters"]),
              UnorderedElementsAreArray(NamesOf(abi::kCounters)));
}

TEST(TablesDocsTest, TheSchemaOfStatusHasEverySource) {
  const Json definitions = Schema()["$defs"];
  const Names sources = NamesOf(abi::kSources);
  EXPECT_THAT(definitions["source_name"]["enum"].get<Names>(), ElementsAreArray(sources));
  Names counts = sources;
  counts.emplace_back("total");
  EXPECT_THAT(Members(definitions["guard"]["properties"]["nodeports"]),
              UnorderedElementsAreArray(counts));
  EXPECT_THAT(Members(definitions["source"]["properties"]["errors"]),
              UnorderedElementsAreArray(NamesOf(abi::kSourceErrors)));
}

TEST(TablesDocsTest, TheSchemaOfStatusHasEveryModeScopeAndVerdict) {
  const Json definitions = Schema()["$defs"];
  const Json guard = definitions["guard"]["properties"];
  EXPECT_THAT(guard["mode"]["enum"].get<Names>(), ElementsAreArray(NamesOf(abi::kModes)));
  EXPECT_THAT(guard["scope"]["enum"].get<Names>(), ElementsAreArray(NamesOf(abi::kScopes)));
  EXPECT_THAT(definitions["conflict"]["properties"]["verdict"]["enum"].get<Names>(),
              ElementsAre(core::Name(core::OwnerVerdict::kGuarded),
                          core::Name(core::OwnerVerdict::kIgnored),
                          core::Name(core::OwnerVerdict::kUntrusted)));
}

TEST(TablesDocsTest, TheSchemaOfStatusHasEveryStateOfProtection) {
  const Json protection = Schema()["$defs"]["protection"]["properties"];
  const Json reserve = protection["reserve_ports"]["properties"];
  EXPECT_THAT(reserve["mode"]["enum"].get<Names>(), ElementsAreArray(NamesOf(abi::kReservePorts)));
  EXPECT_THAT(reserve["state"]["enum"].get<Names>(),
              ElementsAreArray(NamesOf(abi::kReserveStates)));
  EXPECT_THAT(protection["bind"]["properties"]["mode"]["enum"].get<Names>(),
              ElementsAreArray(NamesOf(abi::kBindProtections)));
}

// The words in `backquotes`.
Names Quoted(const std::string& text) {
  static const std::regex* const kQuoted = new std::regex("`([a-z_]+)`");
  Names words;
  for (std::sregex_iterator it(text.begin(), text.end(), *kQuoted), end; it != end; ++it) {
    words.push_back((*it)[1]);
  }
  return words;
}

// The cells of the rows of tables that begin so.
std::vector<std::vector<std::string>> Rows(const std::string& document, absl::string_view begin) {
  std::vector<std::vector<std::string>> rows;
  const std::string text = testing::ReadSource(document);
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, begin)) rows.push_back(absl::StrSplit(line, '|'));
  }
  return rows;
}

TEST(TablesDocsTest, TheDocumentOfMetricsHasEveryReasonToPass) {
  const auto rows = Rows("docs/metrics.md", "| `nodeport_guard_passed_connects_total` |");
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_THAT(Quoted(rows[0].at(5)),
              UnorderedElementsAreArray(NamesOf(abi::Counted::kPassedConnects)));
}

// README.md and architecture.md have the rows of the decision (decision_docs_test).
TEST(TablesDocsTest, TheDecisionHasEveryReasonToPass) {
  Names counters;
  for (const core::DecisionRow& row : core::kDecisionRows) {
    for (const core::DecisionEnd& end : {row.end, row.second_end}) {
      if (!end.counter.empty()) counters.emplace_back(end.counter);
    }
  }
  EXPECT_THAT(counters, UnorderedElementsAreArray(NamesOf(abi::Counted::kPassedConnects)));
}

}  // namespace
}  // namespace npg::cli::tables_docs_test
