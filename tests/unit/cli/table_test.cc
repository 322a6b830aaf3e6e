// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "cli/args/options.h"
#include "cli/args/text.h"
#include "cli/output.h"

namespace npg::cli::table_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  EXPECT_EQ(lines.back(), "");
  lines.pop_back();
  return lines;
}

TEST(TableTest, AlignsColumns) {
  Table table({{"PORT"}, {"SERVICE"}, {"EXEMPTED", true}, {"LAST"}});
  table.AddRow({"33589/tcp", "default/web", "42", "2m ago"});
  table.AddRow({"80/udp", "-", "1000000000", ""});
  EXPECT_THAT(Lines(table.Render({})), ElementsAre("PORT       SERVICE        EXEMPTED  LAST",
                                                   "33589/tcp  default/web          42  2m ago",
                                                   "80/udp     -            1000000000"));
}

TEST(TableTest, HasNoTitleLineWithoutTitles) {
  Table table({{""}, {""}});
  table.AddRow({"mode", "enforce"});
  EXPECT_THAT(Lines(table.Render({}, "  ")), ElementsAre("  mode  enforce"));
}

TEST(TableTest, WrapsTheBreakableColumnToFit) {
  Table table({{"A"}, {"FACT", false, true}, {"B"}});
  table.AddRow({"1", "a fact that is told in many words", "yes"});
  table.AddRow({"2", "short", "no"});
  Style style;
  style.width = 30;
  const std::vector<std::string> lines = Lines(table.Render(style, "  "));
  EXPECT_THAT(lines, ElementsAre("  A  FACT                  B", "  1  a fact that is told   yes",
                                 "     in many words", "  2  short                 no"));
  for (const std::string& line : lines) EXPECT_LE(line.size(), style.width);
}

TEST(TableTest, NeverCutsOtherColumns) {
  Table table({{"SERVICE"}, {"OWNER"}});
  const std::string service(127, 's');
  table.AddRow({service, "containerd[812]"});
  EXPECT_THAT(table.Render({}), HasSubstr(service + "  containerd[812]\n"));
}

TEST(TableTest, ColoursOnlyWhenAsked) {
  Table table({{"A"}});
  table.AddRow({{"bad", Tone::kBad}});
  EXPECT_THAT(table.Render({80, false}), Not(HasSubstr("\x1b")));
  EXPECT_EQ(table.Render({80, true}), "\x1b[1mA\x1b[0m\n\x1b[1;31mbad\x1b[0m\n");
}

TEST(TableTest, AProcessNameCannotCommandTheTerminal) {
  Table table({{"OWNER"}});
  table.AddRow({"\x1b]0;pwned\x07[812]"});
  table.AddRow({"a\nb"});
  EXPECT_THAT(Lines(table.Render({})), ElementsAre("OWNER", "\\x1b]0;pwned\\x07[812]", "a\\nb"));
}

TEST(TextTest, DisplayWidthCountsCharacters) {
  EXPECT_EQ(DisplayWidth("abc"), 3U);
  EXPECT_EQ(DisplayWidth("Grüße"), 5U);
}

TEST(OutputTest, JsonIsOneLineAndSurvivesBadUtf8) {
  EXPECT_EQ(ToJsonLine({{"b", 1}, {"a", "\xff"}}), "{\"b\":1,\"a\":\"\xef\xbf\xbd\"}");
}

TEST(OutputTest, YamlKeepsTypesAndOrder) {
  const Json value = {{"z", "true"},
                      {"port", 33589},
                      {"text", "0x1000"},
                      {"time", "2026-11-02T12:34:56Z"},
                      {"none", nullptr},
                      {"flag", true},
                      {"empty_list", Json::array()},
                      {"empty_map", Json::object()},
                      {"colon", "a: b"},
                      {"name", "default/web"},
                      {"list", {{{"a", 1}, {"b", "n"}}, {{"a", 2}, {"b", ""}}}}};
  const std::string text = ToDocument(value, OutputFormat::kYaml);
  EXPECT_EQ(text,
            "z: \"true\"\n"
            "port: 33589\n"
            "text: \"0x1000\"\n"
            "time: \"2026-11-02T12:34:56Z\"\n"
            "none: ~\n"
            "flag: true\n"
            "empty_list: []\n"
            "empty_map: {}\n"
            "colon: \"a: b\"\n"
            "name: default/web\n"
            "list:\n"
            "  - a: 1\n"
            "    b: \"n\"\n"
            "  - a: 2\n"
            "    b: \"\"\n");
  EXPECT_EQ(YAML::Load(text)["colon"].as<std::string>(), "a: b");
}

}  // namespace
}  // namespace npg::cli::table_test
