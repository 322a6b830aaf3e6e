// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "testing/alternatives.h"
#include "testing/testdata.h"

// docs/alternatives.md says what alternatives_test.cc shows: each cell that is marked as shown has
// a test, with the same result, and each other one has a source.
namespace npg::cli::alternatives_docs_test {
namespace {

using testing::Alternative;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using testing::Helps;
using ::testing::IsEmpty;
using Cells = std::vector<std::string>;

constexpr absl::string_view kShown = " ✓";

// The columns that a test fills, in their order: the heading, the test, and its expectation.
struct Column {
  const char* heading;
  const char* test;
  Helps Alternative::*expected;
};

constexpr auto kColumns = std::to_array<Column>({
    {"listener first", "ListenerFirst", &Alternative::listener_first},
    {"NodePort first", "NodePortFirst", &Alternative::nodeport_first},
    {"no endpoints", "NoEndpoints", &Alternative::no_endpoints},
    {"others on localhost", "OtherNodePorts", &Alternative::keeps_others},
    {"node addresses", "NodeAddresses", &Alternative::node_addresses},
    {"UDP", "Udp", &Alternative::udp},
});

// The rows of the table of ways, the heading first: name → cells of kColumns.
struct Table {
  Cells headings;
  std::map<std::string, Cells> rows;
};

Table ReadTable(const std::string& document) {
  Table table;
  bool inside = false;
  for (const absl::string_view line : absl::StrSplit(document, '\n')) {
    inside = absl::StartsWith(line, "| way |") || (inside && absl::StartsWith(line, "|"));
    if (!inside || absl::StartsWith(line, "|--")) continue;
    Cells cells;
    for (const absl::string_view cell : absl::StrSplit(line, '|')) {
      cells.emplace_back(absl::StripAsciiWhitespace(cell));
    }
    // Nothing outside of the bars; besides kColumns the name, the restart, and who acts.
    if (cells.size() != kColumns.size() + 5) {
      ADD_FAILURE() << cells.size() << " cells: " << line;
      continue;
    }
    const std::string name = absl::StrReplaceAll(cells[1], {{"`", ""}});
    cells = Cells(cells.begin() + 2, cells.begin() + 2 + kColumns.size());
    if (table.headings.empty()) {
      table.headings = cells;
    } else {
      EXPECT_TRUE(table.rows.emplace(name, cells).second) << name;
    }
  }
  return table;
}

// What contradicts the tests; empty: nothing.
Cells Faults(const Table& table) {
  Cells faults;
  std::set<std::string> shown;
  for (const Alternative& alternative : testing::kAlternatives) {
    shown.insert(alternative.name);
    const auto row = table.rows.find(alternative.name);
    if (row == table.rows.end()) {
      faults.push_back(absl::StrCat("no row ", alternative.name));
      continue;
    }
    for (size_t i = 0; i < kColumns.size(); ++i) {
      const std::string wanted =
          absl::StrCat(testing::Word(alternative.*kColumns[i].expected), kShown);
      if (row->second[i] == wanted) continue;
      faults.push_back(absl::StrCat(alternative.name, ", ", kColumns[i].heading, ": \"",
                                    row->second[i], "\", ", kColumns[i].test, " shows \"", wanted,
                                    "\""));
    }
  }
  for (const auto& [name, cells] : table.rows) {
    if (shown.contains(name)) continue;
    for (const std::string& cell : cells) {
      if (absl::StrContains(cell, kShown))
        faults.push_back(absl::StrCat(name, " has no test: ", cell));
      if (!absl::StrContains(cell, "](https://")) {
        faults.push_back(absl::StrCat(name, " has no source: ", cell));
      }
    }
  }
  return faults;
}

TEST(AlternativesDocsTest, EveryCellIsShownByATestOrHasASource) {
  const Table table = ReadTable(testing::ReadSource("docs/alternatives.md"));
  Cells headings;
  for (const Column& column : kColumns) headings.emplace_back(column.heading);
  EXPECT_THAT(table.headings, ElementsAreArray(headings));
  EXPECT_THAT(Faults(table), IsEmpty());
}

TEST(AlternativesDocsTest, TheTestsExist) {
  const std::string tests = testing::ReadSource("tests/integration/guard/alternatives_test.cc");
  for (const Column& column : kColumns) {
    EXPECT_THAT(tests, HasSubstr(absl::StrCat("TEST_P(AlternativesTest, ", column.test, ")")));
  }
  EXPECT_THAT(tests, HasSubstr("::testing::ValuesIn(kAlternatives)"));
  EXPECT_THAT(tests, HasSubstr("TEST(AlternativesFixedPortTest, AHostPortCanHaveItsNumber)"));
}

// A paragraph says what each way is.
TEST(AlternativesDocsTest, EveryWayIsExplained) {
  const std::string document = testing::ReadSource("docs/alternatives.md");
  std::string headings;
  for (const absl::string_view line : absl::StrSplit(document, '\n')) {
    if (absl::StartsWith(line, "**`")) {
      absl::StrAppend(&headings, line.substr(0, line.find(".**")), "\n");
    }
  }
  for (const auto& [name, cells] : ReadTable(document).rows) {
    if (name == "nothing") continue;
    EXPECT_THAT(headings, HasSubstr(absl::StrCat("`", name, "`")));
  }
}

TEST(AlternativesDocsTest, EveryChangeOfACellIsSeen) {
  const Table table = ReadTable(testing::ReadSource("docs/alternatives.md"));
  for (const auto& [name, cells] : table.rows) {
    for (size_t i = 0; i < cells.size(); ++i) {
      Table changed = table;
      changed.rows[name][i] = absl::StartsWith(cells[i], "yes") ? "no ✓" : "yes ✓";
      EXPECT_FALSE(Faults(changed).empty()) << name << ", " << kColumns[i].heading;
    }
    Table shorter = table;
    shorter.rows.erase(name);
    const bool tested = absl::StrContains(cells[0], kShown);
    EXPECT_EQ(Faults(shorter).empty(), !tested) << name;
  }
}

}  // namespace
}  // namespace npg::cli::alternatives_docs_test
