// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "serve/metrics.h"
#include "testing/testdata.h"
#include "unit/serve/metrics_input.h"

// Documents, alerts and dashboard use only metrics that exist.
namespace npg::serve::metrics_docs_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using Names = std::set<std::string>;

struct Family {
  std::string type;
  Names labels;
};

// The families of MetricsText() for an input that has all of them, by name.
std::map<std::string, Family> Families() {
  std::map<std::string, Family> families;
  const std::regex label("([a-z_]+)=\"");
  const std::string text = MetricsText(TypicalInput());
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  for (const std::string& line : lines) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (absl::StartsWith(line, "# TYPE ")) {
      families[words.at(2)].type = words.at(3);
    } else if (!line.empty() && line[0] != '#') {
      Names& labels = families.at(line.substr(0, line.find_first_of("{ "))).labels;
      for (std::sregex_iterator it(line.begin(), line.end(), label), end; it != end; ++it) {
        labels.insert((*it)[1]);
      }
    }
  }
  return families;
}

Names FamilyNames() {
  Names names;
  for (const auto& [name, family] : Families()) names.insert(name);
  return names;
}

// Names of metrics that a query or a text mentions.
Names NamesIn(const std::string& text) {
  static const std::regex* const kName =
      new std::regex("\\b(nodeport_guard_[a-z0-9_]+|process_[a-z0-9]+_[a-z0-9_]+)\\b");
  Names names;
  for (std::sregex_iterator it(text.begin(), text.end(), *kName), end; it != end; ++it) {
    names.insert((*it)[1]);
  }
  return names;
}

struct DocumentedFamily {
  std::string type;
  std::string labels;
};

// First columns of the tables of docs/metrics.md.
std::map<std::string, DocumentedFamily> Documented() {
  std::map<std::string, DocumentedFamily> families;
  const std::vector<std::string> lines =
      absl::StrSplit(testing::ReadSource("docs/metrics.md"), '\n');
  for (const std::string& line : lines) {
    if (!absl::StartsWith(line, "| `")) continue;
    const std::vector<std::string> cells = absl::StrSplit(line, '|');
    EXPECT_EQ(cells.size(), 8U) << line;
    const std::string name = absl::StrReplaceAll(cells.at(1), {{"`", ""}, {" ", ""}});
    EXPECT_EQ(families.count(name), 0U) << name << " occurs twice";
    families[name] = {std::string(absl::StripAsciiWhitespace(cells.at(2))), cells.at(3)};
    for (const size_t column : {size_t{4}, size_t{5}, size_t{6}}) {
      EXPECT_FALSE(absl::StripAsciiWhitespace(cells.at(column)).empty()) << line;
    }
  }
  return families;
}

TEST(MetricsDocsTest, DocumentsExactlyTheFamilies) {
  Names documented;
  for (const auto& [name, family] : Documented()) documented.insert(name);
  EXPECT_THAT(documented, ElementsAreArray(FamilyNames()));
}

TEST(MetricsDocsTest, DocumentsTypesAndLabels) {
  const std::map<std::string, Family> families = Families();
  for (const auto& [name, documented] : Documented()) {
    const auto found = families.find(name);
    ASSERT_NE(found, families.end()) << name;
    EXPECT_EQ(documented.type, found->second.type) << name;
    if (absl::StrContains(documented.labels, "as above")) continue;
    Names labels;
    for (const absl::string_view label :
         absl::StrSplit(documented.labels, absl::ByAnyChar("`, "), absl::SkipEmpty())) {
      labels.insert(std::string(label));
    }
    EXPECT_EQ(labels, found->second.labels) << name;
  }
}

// Names in the text outside of the tables; "conflict_*_total" is not a name.
TEST(MetricsDocsTest, TextsMentionOnlyMetricsThatExist) {
  for (const char* document : {"docs/metrics.md", "docs/operations.md"}) {
    for (const std::string& name : NamesIn(testing::ReadSource(document))) {
      if (absl::EndsWith(name, "_")) continue;
      EXPECT_THAT(FamilyNames(), Contains(name)) << document;
    }
  }
}

std::vector<YAML::Node> Alerts() {
  std::vector<YAML::Node> alerts;
  const YAML::Node document =
      YAML::Load(testing::ReadSource("deploy/components/monitoring/prometheus-rule.yaml"));
  for (const YAML::Node& group : document["spec"]["groups"]) {
    for (const YAML::Node& rule : group["rules"]) alerts.push_back(rule);
  }
  return alerts;
}

TEST(MetricsDocsTest, AlertsUseMetricsThatExist) {
  ASSERT_THAT(Alerts(), Not(IsEmpty()));
  for (const YAML::Node& alert : Alerts()) {
    const std::string expression = alert["expr"].as<std::string>();
    const Names names = NamesIn(expression);
    EXPECT_THAT(FamilyNames(), IsSupersetOf(names)) << expression;
    // `up` is a metric of Prometheus.
    EXPECT_TRUE(!names.empty() || absl::StrContains(expression, "up{")) << expression;
  }
}

TEST(MetricsDocsTest, AlertsHelp) {
  const std::string operations = testing::ReadSource("docs/operations.md");
  for (const YAML::Node& alert : Alerts()) {
    const std::string name = alert["alert"].as<std::string>();
    const YAML::Node annotations = alert["annotations"];
    EXPECT_THAT(operations, HasSubstr(absl::StrCat("\n### ", name, "\n")));
    EXPECT_EQ(annotations["runbook"].as<std::string>(),
              absl::StrCat("docs/operations.md#", absl::AsciiStrToLower(name)));
    EXPECT_FALSE(annotations["summary"].as<std::string>().empty()) << name;
    EXPECT_FALSE(annotations["description"].as<std::string>().empty()) << name;
    EXPECT_THAT((Names{"info", "warning", "critical"}),
                Contains(alert["labels"]["severity"].as<std::string>()));
  }
}

TEST(MetricsDocsTest, PanelsUseMetricsThatExist) {
  const nlohmann::json dashboard =
      nlohmann::json::parse(testing::ReadSource("deploy/components/monitoring/dashboard.json"));
  std::vector<std::string> rows;
  size_t queries = 0;
  for (const nlohmann::json& panel : dashboard["panels"]) {
    if (panel["type"] == "row") rows.push_back(panel["title"]);
    for (const nlohmann::json& target : panel.value("targets", nlohmann::json::array())) {
      const std::string expression = target["expr"];
      const Names names = NamesIn(expression);
      EXPECT_THAT(FamilyNames(), IsSupersetOf(names)) << expression;
      EXPECT_TRUE(!names.empty() || absl::StrContains(expression, "up{")) << expression;
      EXPECT_THAT(expression, HasSubstr("instance=~\"$instance\""));
      ++queries;
    }
  }
  EXPECT_THAT(rows, ElementsAreArray({"Conflicts", "Exemptions", "Pass reasons", "Health",
                                      "Sources", "Resources", "Prevention"}));
  EXPECT_GE(queries, rows.size());
}

TEST(MetricsDocsTest, VariablesOfTheDashboardUseMetricsThatExist) {
  const nlohmann::json dashboard =
      nlohmann::json::parse(testing::ReadSource("deploy/components/monitoring/dashboard.json"));
  Names variables;
  for (const nlohmann::json& variable : dashboard["templating"]["list"]) {
    variables.insert(variable["name"].get<std::string>());
    EXPECT_THAT(FamilyNames(), IsSupersetOf(NamesIn(variable["query"].dump())));
  }
  EXPECT_EQ(variables, (Names{"datasource", "node", "instance"}));
}

}  // namespace
}  // namespace npg::serve::metrics_docs_test
