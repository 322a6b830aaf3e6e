// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "core/decision_rows.h"
#include "testing/testdata.h"

// The documents have the same rows of the decision as the code.
namespace npg::core::decision_docs_test {
namespace {

using ::testing::ElementsAreArray;

// A row as a document has it.
struct DocumentedRow {
  std::string number;  // "" for the last row, exempted
  std::string question;
  std::string detail;  // in the README only
  std::string counter;

  bool operator==(const DocumentedRow& other) const = default;
};

void PrintTo(const DocumentedRow& row, std::ostream* out) {
  *out << absl::StrJoin(std::vector<std::string>{row.number, row.question, row.detail, row.counter},
                        " | ");
}

std::string Plain(absl::string_view text) {
  return absl::StrReplaceAll(absl::StripAsciiWhitespace(text), {{"`", ""}});
}

// The lines between a heading and the next one.
std::vector<std::string> Section(const std::string& document, absl::string_view heading) {
  std::vector<std::string> lines;
  bool inside = false;
  for (const absl::string_view line : absl::StrSplit(document, '\n')) {
    if (absl::StartsWith(line, "#")) {
      inside = line == heading;
    } else if (inside) {
      lines.emplace_back(line);
    }
  }
  return lines;
}

// The table of the README. Cells are compared as text, without the marks of code.
std::vector<DocumentedRow> RowsOfReadme(const std::string& readme) {
  std::vector<DocumentedRow> rows;
  for (const std::string& line : Section(readme, "## How it decides")) {
    if (!absl::StartsWith(line, "|")) continue;
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    EXPECT_EQ(cells.size(), 6U) << line;
    rows.push_back(
        {Plain(cells.at(1)), Plain(cells.at(2)), Plain(cells.at(3)), Plain(cells.at(4))});
  }
  return rows;
}

// The numbered list of architecture.md: "3. **question** how it is answered. If not: counted as
// `counter`." An item ends at the next one, or at an empty line.
std::vector<DocumentedRow> RowsOfArchitecture(const std::string& architecture) {
  const std::string counted_as = "counted as `";
  std::vector<std::string> items;
  bool inside = false;
  for (const std::string& line : Section(architecture, "## The decision")) {
    const size_t digits = line.find_first_not_of("0123456789");
    if (digits != 0 && digits != std::string::npos && line.substr(digits, 2) == ". ") {
      items.push_back(line);
      inside = true;
    } else if (line.empty()) {
      inside = false;
    } else if (inside) {
      absl::StrAppend(&items.back(), " ", absl::StripAsciiWhitespace(line));
    }
  }
  std::vector<DocumentedRow> rows;
  for (const std::string& item : items) {
    const std::vector<std::string> parts = absl::StrSplit(item, absl::MaxSplits("**", 2));
    DocumentedRow row;
    row.number = Plain(absl::StripSuffix(Plain(parts[0]), "."));
    if (parts.size() > 1) row.question = parts[1];
    std::vector<std::string> counters;
    for (size_t at = item.find(counted_as); at != std::string::npos;
         at = item.find(counted_as, at + 1)) {
      const size_t start = at + counted_as.size();
      counters.push_back(item.substr(start, item.find('`', start) - start));
    }
    row.counter = absl::StrJoin(counters, ", ");
    rows.push_back(row);
  }
  return rows;
}

std::string CountersOf(const DecisionRow& row) {
  return row.second_end.counter.empty()
             ? std::string(row.end.counter)
             : absl::StrCat(row.end.counter, ", ", row.second_end.counter);
}

std::vector<DocumentedRow> WantedOfReadme() {
  std::vector<DocumentedRow> rows = {{"", "question", "", "counted as, if not"},
                                     {"---", "---", "---", "---"}};
  for (const DecisionRow& row : kDecisionRows) {
    rows.push_back({absl::StrCat(row.number), std::string(row.question), std::string(row.detail),
                    CountersOf(row)});
  }
  rows.push_back({"", "**Exempted.**", "", std::string(kExemptCounter)});
  return rows;
}

std::vector<DocumentedRow> WantedOfArchitecture() {
  std::vector<DocumentedRow> rows;
  for (const DecisionRow& row : kDecisionRows) {
    rows.push_back({absl::StrCat(row.number), std::string(row.question), "", CountersOf(row)});
  }
  return rows;
}

TEST(DecisionDocsTest, TheReadmeHasTheRowsOfTheCode) {
  EXPECT_THAT(RowsOfReadme(testing::ReadSource("README.md")), ElementsAreArray(WantedOfReadme()));
}

TEST(DecisionDocsTest, TheArchitectureHasTheRowsOfTheCode) {
  EXPECT_THAT(RowsOfArchitecture(testing::ReadSource("docs/architecture.md")),
              ElementsAreArray(WantedOfArchitecture()));
}

// Changes each row of a document in each way, and expects the comparison to fail.
void ExpectEveryChangeIsSeen(
    const std::string& document,
    const std::function<std::vector<DocumentedRow>(const std::string&)>& read,
    const std::function<std::string(const DecisionRow&)>& start_of_row, bool details) {
  const std::vector<DocumentedRow> rows = read(document);
  for (const DecisionRow& row : kDecisionRows) {
    SCOPED_TRACE(row.number);
    const size_t start = document.find(start_of_row(row));
    ASSERT_NE(start, std::string::npos);
    const size_t end = document.find('\n', start) + 1;
    const std::string line = document.substr(start, end - start);
    const auto with = [&](const std::string& other) {
      return document.substr(0, start) + other + document.substr(end);
    };
    const auto replaced = [&](absl::string_view old_text, absl::string_view new_text) {
      const size_t at = document.find(std::string(old_text), start);
      EXPECT_NE(at, std::string::npos) << old_text;
      return document.substr(0, at) + std::string(new_text) + document.substr(at + old_text.size());
    };
    EXPECT_NE(read(replaced(absl::StrCat(row.number), "9")), rows) << "number";
    EXPECT_NE(read(replaced(row.question, "is it?")), rows) << "question";
    EXPECT_NE(read(with("")), rows) << "missing";
    EXPECT_NE(read(with(line + line)), rows) << "twice";
    for (const DecisionEnd& one : {row.end, row.second_end}) {
      if (one.counter.empty()) continue;
      EXPECT_NE(read(replaced(one.counter, "other")), rows) << "counter";
    }
    if (details) {
      EXPECT_NE(read(replaced(row.detail.substr(0, 5), "Other")), rows) << "detail";
    }
  }
}

TEST(DecisionDocsTest, DetectsAChangeOfTheReadme) {
  ExpectEveryChangeIsSeen(
      testing::ReadSource("README.md"), RowsOfReadme,
      [](const DecisionRow& row) { return absl::StrCat("| ", row.number, " | ", row.question); },
      /*details=*/true);
}

TEST(DecisionDocsTest, DetectsAChangeOfTheArchitecture) {
  ExpectEveryChangeIsSeen(
      testing::ReadSource("docs/architecture.md"), RowsOfArchitecture,
      [](const DecisionRow& row) { return absl::StrCat(row.number, ". **", row.question, "**"); },
      /*details=*/false);
}

}  // namespace
}  // namespace npg::core::decision_docs_test
