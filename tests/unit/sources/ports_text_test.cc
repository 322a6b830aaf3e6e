// SPDX-License-Identifier: Apache-2.0
#include "sources/ports_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/port.h"
#include "kubernetes/yaml_to_json.h"
#include "sources/source.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::sources::ports_text_test {
namespace {

using testing::ReadTestdata;
using testing::Tcp;
using testing::Udp;

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;

Reading Decode(const std::string& text) {
  absl::StatusOr<Reading> reading = DecodePortsText(text);
  NPG_EXPECT_OK(reading);
  return reading.ok() ? *reading : Reading{};
}

std::string ErrorOf(const std::string& text) {
  const absl::StatusOr<Reading> reading = DecodePortsText(text);
  EXPECT_EQ(reading.status().code(), absl::StatusCode::kInvalidArgument) << text;
  EXPECT_EQ(reading.status().message().find('\n'), absl::string_view::npos);
  return std::string(reading.status().message());
}

TEST(PortsTextTest, YamlList) {
  const Reading reading = Decode(
      "# ports that are taken\n- 30080\n- 30081/udp\n- \"30082\"\n"
      "- {port: 30083, protocol: UDP, service: ns/name}\n- port: 30084\n  service: a/b\n");
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Tcp(30080), ""), Pair(Udp(30081), ""), Pair(Tcp(30082), ""),
                          Pair(Udp(30083), "ns/name"), Pair(Tcp(30084), "a/b")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(PortsTextTest, JsonList) {
  EXPECT_THAT(Decode("\xEF\xBB\xBF \n[30080, \"30081/udp\"]\n").ports,
              ElementsAre(Pair(Tcp(30080), ""), Pair(Udp(30081), "")));
}

TEST(PortsTextTest, YamlThatLooksLikeJson) {
  EXPECT_THAT(Decode("[30080, 30081/udp]").ports,
              ElementsAre(Pair(Tcp(30080), ""), Pair(Udp(30081), "")));
  EXPECT_THAT(Decode("{kind: Service, metadata: {name: a}, spec: {type: NodePort, "
                     "ports: [{nodePort: 30080}]}}")
                  .ports,
              ElementsAre(Pair(Tcp(30080), "default/a")));
}

TEST(PortsTextTest, YamlAndJsonOfAnApiServerAgree) {
  const Reading json = Decode(ReadTestdata("services-list.json"));
  const Reading yaml = Decode(ReadTestdata("services-list.yaml"));
  EXPECT_THAT(yaml.ports,
              ElementsAre(Pair(Tcp(34567), "default/web"), Pair(Tcp(35924), "default/load-0"),
                          Pair(Tcp(46121), "default/load-1")));
  EXPECT_EQ(yaml.ports, json.ports);
  EXPECT_THAT(yaml.skipped, IsEmpty());
}

TEST(PortsTextTest, SeveralYamlDocuments) {
  const Reading reading = Decode(
      "---\n# nothing here\n---\n- 30080\n---\nkind: Service\nmetadata: {name: a}\n"
      "spec:\n  type: NodePort\n  ports:\n  - nodePort: 30081\n...\n");
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30080), ""), Pair(Tcp(30081), "default/a")));
  EXPECT_THAT(ErrorOf("- 30080\n---\nkind: Pod\n"), StartsWith("document 2: kind is \"Pod\""));
}

TEST(PortsTextTest, BadItemsAreNamedInYamlToo) {
  const Reading reading = Decode(
      "- 0\n- 70000\n- http\n- 30080\n- 30080\n- 0x7530\n- 030080\n- 99999999999999999999\n- ~\n");
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30080), "")));
  EXPECT_THAT(reading.skipped, ElementsAre("item 1: port 0 is outside 1-65535",
                                           "item 2: port 70000 is outside 1-65535",
                                           "item 3: \"http\" is not a port number",
                                           "item 5: port 30080/tcp is listed already",
                                           "item 6: \"0x7530\" is not a port number",
                                           "item 7: port 30080/tcp is listed already",
                                           "item 8: \"99999999999999999999\" is not a port number",
                                           "item 9: port null is not a number"));
}

TEST(PortsTextTest, RefusesAnEmptyDocument) {
  for (const char* text : {"\n", "   \n\t\n", "# only a comment\n", "---\n", "~\n", "null\n"}) {
    EXPECT_THAT(ErrorOf(text), AllOf(HasSubstr("holds nothing"), HasSubstr("[]"))) << text;
  }
  EXPECT_THAT(Decode("[]\n").ports, IsEmpty());
  EXPECT_THAT(Decode("--- []\n").ports, IsEmpty());
}

TEST(PortsTextTest, NamesTheLineOfTruncatedText) {
  EXPECT_THAT(ErrorOf("[\n30080,\n30081"), StartsWith("line 3: not valid JSON"));
  EXPECT_THAT(ErrorOf("[30080,\n30081}"), StartsWith("line 2: not valid JSON"));
  EXPECT_THAT(ErrorOf("- 30080\n- {port: 30081\n"), StartsWith("line "));
  EXPECT_THAT(ErrorOf("- 30080\n- \"3008\n"), StartsWith("line "));
  EXPECT_THAT(ErrorOf("- 30080\n- '3008\n\n"), StartsWith("line "));
  EXPECT_THAT(ErrorOf("kind: Service\n  metadata: x: y\n"), StartsWith("line "));
  std::string list = ReadTestdata("services-list.json");
  list.resize(list.size() / 2);
  EXPECT_THAT(ErrorOf(list), StartsWith("line "));
}

TEST(PortsTextTest, EveryPrefixIsRefusedOrValid) {
  // No proper prefix of JSON is valid; one of YAML may be.
  const std::string json = R"([30080, {"port": 30081, "protocol": "UDP"}])";
  for (size_t length = 0; length < json.size(); ++length) {
    EXPECT_FALSE(DecodePortsText(json.substr(0, length)).ok()) << length;
  }
  const std::string yaml = ReadTestdata("services-list.yaml");
  for (size_t length = 0; length < yaml.size(); length += 97) {
    const absl::StatusOr<Reading> reading = DecodePortsText(yaml.substr(0, length));
    EXPECT_TRUE(!reading.ok() || reading->ports.size() <= 3) << length;
  }
}

TEST(PortsTextTest, RefusesOtherContent) {
  EXPECT_THAT(ErrorOf("hello\n"), HasSubstr("expected a list of ports"));
  EXPECT_THAT(ErrorOf("ports: [30080]\n"), HasSubstr("an object without \"kind\""));
  EXPECT_THAT(ErrorOf(R"({"ports": [30080]})"), StartsWith("an object without \"kind\""));
  EXPECT_THAT(ErrorOf(std::string("\x7f"
                                  "ELF\x00\x01\x02",
                                  7)),
              Not(IsEmpty()));
  EXPECT_THAT(ErrorOf(std::string(100000, '[')), Not(IsEmpty()));
  EXPECT_THAT(ErrorOf("- " + std::string(100000, '[')), Not(IsEmpty()));
}

TEST(PortsTextTest, RefusesHugeYaml) {
  const absl::StatusOr<Reading> reading = DecodePortsText(std::string(size_t{33} << 20, '#'));
  EXPECT_EQ(reading.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(reading.status().message()), HasSubstr("write JSON"));
}

TEST(YamlToJsonTest, KeepsTypesAndText) {
  const absl::StatusOr<std::vector<std::string>> json = kubernetes::YamlToJson(
      "a: 1\nb: -2.5\nc: '3'\nd: true\ne: ~\nf:\ng: \"q\\\"\\\\\\n\\u0007\"\nh: yes\n"
      "k:{\"port\":80}: {}\nl: [1, [2], {m: n}]\n5: x\n");
  NPG_ASSERT_OK(json);
  EXPECT_THAT(*json, ElementsAre(R"({"a":1,"b":-2.5,"c":"3","d":true,"e":null,"f":null,)"
                                 R"("g":"q\"\\\u000a\u0007","h":"yes","k:{\"port\":80}":{},)"
                                 R"("l":[1,[2],{"m":"n"}],"5":"x"})"));
}

TEST(YamlToJsonTest, TakesBlockScalarsToTheirEnd) {
  for (const char* yaml : {"a: |\n  x\n  y\n", "a: |\n  x\n  y", "a: |+\n  x\n  y\n"}) {
    const absl::StatusOr<std::vector<std::string>> json = kubernetes::YamlToJson(yaml);
    NPG_ASSERT_OK(json);
    EXPECT_THAT((*json)[0], StartsWith(R"({"a":"x\u000ay)")) << yaml;
  }
}

TEST(YamlToJsonTest, RefusesAliasesAndComplexKeys) {
  const auto alias = kubernetes::YamlToJson("a: &x [1]\nb: *x\n");
  EXPECT_EQ(alias.status().message(), "line 2: aliases are not supported");
  const auto key = kubernetes::YamlToJson("? [1, 2]\n: 3\n");
  EXPECT_THAT(std::string(key.status().message()), HasSubstr("a key is not a plain word"));
}

}  // namespace
}  // namespace npg::sources::ports_text_test
