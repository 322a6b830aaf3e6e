// SPDX-License-Identifier: Apache-2.0
//
// Which NodePorts of a Service may be refused on the node.
#include "sources/service_bind_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/bind_facts.h"
#include "core/port.h"
#include "sources/ports_decoder.h"
#include "sources/ports_text.h"
#include "sources/service_decoder.h"
#include "sources/source.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::sources::service_bind_facts_test {
namespace {

using testing::ReadTestdata;
using testing::Tcp;
using testing::Udp;

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr uint32_t kV4 = core::kServiceV4;
constexpr uint32_t kV6 = core::kServiceV6;
constexpr uint32_t kBoth = kV4 | kV6;

constexpr absl::string_view kSelector = R"("selector":{"app":"web"},)";

ServicePorts DecodeSpec(absl::string_view spec) {
  const simdjson::padded_string text(
      absl::StrCat(R"([{"metadata":{"name":"web"},"spec":)", spec, "}]"));
  simdjson::ondemand::parser parser;
  simdjson::ondemand::document document;
  EXPECT_EQ(parser.iterate(text).get(document), simdjson::SUCCESS) << spec;
  simdjson::ondemand::value service;
  EXPECT_EQ(document.at(0).get(service), simdjson::SUCCESS) << spec;
  absl::StatusOr<ServicePorts> decoded = DecodeService(service);
  NPG_EXPECT_OK(decoded);
  return decoded.ok() ? *std::move(decoded) : ServicePorts{};
}

// A NodePort Service with the members `before`, such as kSelector, and these entries of ports.
ServicePorts Decode(absl::string_view before, absl::string_view ports) {
  return DecodeSpec(absl::StrCat("{", before, R"("type":"NodePort","ports":[)", ports, "]}"));
}

// Whether a Service with this selector has a port that may be refused, by the members of its entry
// besides nodePort 30080.
bool Refusable(absl::string_view entry, absl::string_view before = kSelector) {
  const ServicePorts decoded = Decode(before, absl::StrCat(R"({"nodePort":30080,)", entry, "}"));
  EXPECT_THAT(decoded.ports, ElementsAre(Tcp(30080))) << entry;
  EXPECT_THAT(decoded.skipped, IsEmpty()) << entry;
  return decoded.families != 0 && decoded.shared.empty();
}

uint32_t Families(absl::string_view ip_families) {
  const ServicePorts decoded = Decode(absl::StrCat(kSelector, R"("ipFamilies":)", ip_families, ","),
                                      R"({"port":80,"targetPort":8080,"nodePort":30080})");
  EXPECT_THAT(decoded.ports, ElementsAre(Tcp(30080))) << ip_families;
  EXPECT_THAT(decoded.shared, IsEmpty()) << ip_families;
  EXPECT_THAT(decoded.skipped, IsEmpty()) << ip_families;
  return decoded.families;
}

TEST(ServiceBindFactsTest, ANumericTargetOtherThanTheNodePortIsRefusable) {
  EXPECT_TRUE(Refusable(R"("port":80,"targetPort":8080)"));
  EXPECT_TRUE(Refusable(R"("port":30080,"targetPort":8080)"));
  EXPECT_TRUE(Refusable(R"("targetPort":1)")) << "port is not needed";
  EXPECT_TRUE(Refusable(R"("port":"x","targetPort":65535)")) << "port does not count";
  EXPECT_FALSE(Refusable(R"("port":80,"targetPort":30080)"));
}

TEST(ServiceBindFactsTest, WithoutATargetItIsThePort) {
  for (const char* absent :
       {"", R"(,"targetPort":null)", R"(,"targetPort":0)", R"(,"targetPort":"")"}) {
    EXPECT_TRUE(Refusable(absl::StrCat(R"("port":80)", absent))) << absent;
    EXPECT_FALSE(Refusable(absl::StrCat(R"("port":30080)", absent))) << absent;
    EXPECT_FALSE(Refusable(absl::StrCat(R"("port":null)", absent))) << absent;
    EXPECT_FALSE(Refusable(absl::StrCat(R"("port":"80")", absent))) << absent;
    EXPECT_FALSE(Refusable(absl::StrCat(R"("port":70000)", absent))) << absent;
    EXPECT_FALSE(Refusable(absl::StrCat(R"("name":"http")", absent))) << absent;
  }
}

TEST(ServiceBindFactsTest, ANameOrAMalformedTargetIsShared) {
  for (const char* target : {R"("http")", R"("8080")", R"(" ")", "true", "false", "[8080]",
                             R"({"port":8080})", "{}", "[]", "-1", "65536", "8080.5", "8e3", "-0.0",
                             "99999999999999999999999999", "18446744073709559696"}) {
    EXPECT_FALSE(Refusable(absl::StrCat(R"("port":80,"targetPort":)", target))) << target;
  }
}

TEST(ServiceBindFactsTest, WithoutASelectorAllAreShared) {
  constexpr absl::string_view kEntry = R"("port":80,"targetPort":8080)";
  for (const char* none :
       {"", R"("selector":null,)", R"("selector":{},)", R"("selector":[],)", R"("selector":"app",)",
        R"("selector":7,)", R"("selector":{"app":7},)", R"("selector":{"app":"web","b":{}},)",
        R"("selector":{"a":["x"],"app":"web"},)"}) {
    EXPECT_FALSE(Refusable(kEntry, none)) << none;
  }
  EXPECT_TRUE(Refusable(kEntry, R"("selector":{"app":"web","tier":"front"},)"));
  EXPECT_TRUE(Refusable(kEntry, R"("selector":{"app":""},)"));
  EXPECT_TRUE(Refusable(kEntry, R"("selector":{"app":null},)")) << "as an empty text";
}

TEST(ServiceBindFactsTest, FamiliesAreThoseOfTheService) {
  EXPECT_EQ(Families(R"(["IPv4"])"), kV4);
  EXPECT_EQ(Families(R"(["IPv6"])"), kV6);
  EXPECT_EQ(Families(R"(["IPv6","IPv4"])"), kBoth);
  EXPECT_EQ(Families(R"(["IPv4","IPv4","IPv6"])"), kBoth);
  EXPECT_EQ(Families("null"), kV4);
  EXPECT_EQ(Families("[]"), kV4) << "as without the member";
  EXPECT_EQ(Decode(kSelector, R"({"port":80,"nodePort":30080})").families, kV4);
}

TEST(ServiceBindFactsTest, WithMalformedFamiliesAllAreShared) {
  for (const char* bad : {R"("IPv4")", "4", "{}", "true", R"(["ipv4"])", R"(["IPv4","IPv5"])",
                          R"(["IPv4",null])", R"([["IPv4"],"IPv6"])", R"([4])", R"([""])"}) {
    EXPECT_EQ(Families(bad), 0U) << bad;
  }
}

TEST(ServiceBindFactsTest, JudgesEachPortOfAService) {
  const ServicePorts decoded =
      Decode(kSelector, R"({"name":"a","port":80,"targetPort":8080,"nodePort":30080},
          {"name":"b","port":81,"targetPort":"http","nodePort":30081},
          {"name":"c","port":53,"targetPort":30053,"nodePort":30053,"protocol":"UDP"},
          {"name":"d","port":53,"targetPort":5353,"nodePort":30053})");
  EXPECT_EQ(decoded.families, kV4);
  EXPECT_THAT(decoded.ports, ElementsAre(Tcp(30080), Tcp(30081), Udp(30053), Tcp(30053)));
  EXPECT_THAT(decoded.shared, UnorderedElementsAre(Tcp(30081), Udp(30053)));
}

// One backend has all ports of the Service.
TEST(ServiceBindFactsTest, TheTargetOfAnotherEntryCounts) {
  const ServicePorts decoded = Decode(kSelector, R"({"port":80,"targetPort":8080,"nodePort":30080},
          {"port":81,"targetPort":30080,"nodePort":30081},
          {"port":82,"targetPort":30083},
          {"port":83,"targetPort":8083,"nodePort":30083},
          {"port":84,"targetPort":30085,"nodePort":70000},
          {"port":85,"targetPort":8085,"nodePort":30085},
          {"port":86,"targetPort":30087,"protocol":"UDP","nodePort":30086},
          {"port":87,"targetPort":8087,"nodePort":30087},
          {"port":88,"targetPort":30087,"protocol":"SCTP","nodePort":30088},
          {"port":89,"targetPort":30087,"protocol":"QUIC","nodePort":30089})");
  EXPECT_EQ(decoded.ports.size(), 6U);
  EXPECT_THAT(decoded.shared, UnorderedElementsAre(Tcp(30080), Tcp(30083), Tcp(30085)));
}

TEST(ServiceBindFactsTest, APortThatIsListedTwiceIsSharedIfOneEntryIs) {
  for (const char* ports :
       {R"({"targetPort":1,"nodePort":30080},{"targetPort":"x","nodePort":30080})",
        R"({"targetPort":"x","nodePort":30080},{"targetPort":1,"nodePort":30080})",
        R"({"targetPort":1,"nodePort":30080},{"nodePort":30080})"}) {
    const ServicePorts decoded = Decode(kSelector, ports);
    EXPECT_EQ(decoded.families, kV4) << ports;
    EXPECT_THAT(decoded.shared, ElementsAre(Tcp(30080))) << ports;
  }
}

TEST(ServiceBindFactsTest, ItsMembersComeInAnyOrder) {
  const ServicePorts decoded = DecodeSpec(
      R"({"ports":[{"nodePort":30080,"targetPort":8080,"port":80},
                   {"targetPort":30053,"nodePort":30053,"protocol":"UDP"},
                   {"targetPort":30080,"protocol":"UDP","nodePort":30081}],
          "ipFamilies":["IPv6"],"type":"LoadBalancer","healthCheckNodePort":31000,
          "selector":{"ports":"7","selector":"x"}})");
  EXPECT_EQ(decoded.families, kV6);
  EXPECT_THAT(decoded.ports, ElementsAre(Tcp(30080), Udp(30053), Udp(30081)));
  EXPECT_THAT(decoded.shared, ElementsAre(Udp(30053)));
  EXPECT_EQ(decoded.health_check_port, 31000);
}

TEST(ServiceBindFactsTest, TheFirstOfTwoMembersCounts) {
  EXPECT_TRUE(Refusable(R"("targetPort":8080,"targetPort":"http")"));
  EXPECT_FALSE(Refusable(R"("targetPort":"http","targetPort":8080)"));
  EXPECT_FALSE(Refusable(R"("targetPort":8080)", R"("selector":{},"selector":{"a":"b"},)"));
  EXPECT_FALSE(Refusable(R"("targetPort":8080)", R"("selector":null,"selector":{"a":"b"},)"));
}

TEST(ServiceBindFactsTest, OtherTypesHaveNone) {
  for (const char* type : {"ClusterIP", "ExternalName", ""}) {
    const ServicePorts decoded =
        DecodeSpec(absl::StrCat("{", kSelector, R"("type":")", type,
                                R"(","ports":[{"port":80,"targetPort":"x","nodePort":30080}]})"));
    EXPECT_EQ(decoded.families, 0U) << type;
    EXPECT_THAT(decoded.shared, IsEmpty()) << type;
  }
}

TEST(ServiceBindFactsTest, AHugeListOfPortsTakesOnePass) {
  std::string ports = R"({"targetPort":1,"nodePort":1})";
  for (int i = 2; i <= 60000; ++i) {
    absl::StrAppend(&ports, R"(,{"targetPort":)", i % 2 == 0 ? i + 1 : 7, R"(,"nodePort":)", i,
                    "}");
  }
  const ServicePorts decoded = Decode(kSelector, ports);
  EXPECT_EQ(decoded.ports.size(), 60000U);
  // 1, 3, 5, ... 59999: 7 is the target of half of them, 1 of the first, the others of the entry
  // before.
  EXPECT_EQ(decoded.shared.size(), 30000U);
}

TEST(ServiceBindFactsTest, InvalidJsonInAMemberIsAnError) {
  for (const char* spec :
       {R"({"selector":{"a" "b"},"type":"NodePort"})", R"({"ipFamilies":["IPv4" "x"]})",
        R"({"ports":[{"targetPort":"\q","nodePort":1}]})"}) {
    const simdjson::padded_string text(
        absl::StrCat(R"({"metadata":{"name":"web"},"spec":)", spec, "}"));
    simdjson::ondemand::parser parser;
    simdjson::ondemand::document document;
    ASSERT_EQ(parser.iterate(text).get(document), simdjson::SUCCESS) << spec;
    simdjson::ondemand::value service;
    ASSERT_EQ(document.get_value().get(service), simdjson::SUCCESS) << spec;
    EXPECT_FALSE(DecodeService(service).ok()) << spec;
  }
}

// The facts of a ports file with this text.
core::BindFacts FactsOf(const std::string& text) {
  core::BindFacts facts;
  NPG_EXPECT_OK(DecodePortsText(text, &facts));
  return facts;
}

TEST(PortsTextFactsTest, PortsOfAListAreRefusableForBothFamilies) {
  for (const char* text : {R"([30080, "30081/udp", 30080, {"port":30082,"service":"a/b"}, 0])",
                           "- 30080\n- 30081/udp\n- port: 30082\n"}) {
    const core::BindFacts facts = FactsOf(text);
    EXPECT_THAT(facts.refusable, ElementsAre(Pair(Tcp(30080), kBoth), Pair(Udp(30081), kBoth),
                                             Pair(Tcp(30082), kBoth)));
    EXPECT_THAT(facts.shared, IsEmpty());
    EXPECT_THAT(facts.health_checks, IsEmpty());
  }
  EXPECT_EQ(FactsOf("[]"), core::BindFacts());
}

TEST(PortsTextFactsTest, ServicesOfAnApiServer) {
  for (const char* name : {"services-list.json", "services-list.yaml"}) {
    const core::BindFacts facts = FactsOf(ReadTestdata(name));
    EXPECT_THAT(facts.refusable, ElementsAre(Pair(Tcp(35924), kV4), Pair(Tcp(46121), kV4))) << name;
    EXPECT_THAT(facts.shared, ElementsAre(Tcp(34567))) << name << ": default/web has no selector";
  }
}

TEST(PortsTextFactsTest, SharedOverrulesTheOtherDocuments) {
  const std::string list = "[30080, 30081]\n";
  const std::string service =
      R"({"kind":"Service","metadata":{"name":"a"},"spec":{"selector":{"a":"b"},"type":"NodePort",
          "healthCheckNodePort":31000,"ipFamilies":["IPv6"],
          "ports":[{"targetPort":"x","nodePort":30080},{"targetPort":1,"nodePort":30082}]}})"
      "\n";
  for (const std::string& text : {absl::StrCat("---\n", list, "---\n", service),
                                  absl::StrCat("---\n", service, "---\n", list)}) {
    const core::BindFacts facts = FactsOf(text);
    EXPECT_THAT(facts.refusable, ElementsAre(Pair(Tcp(30081), kBoth), Pair(Tcp(30082), kV6)));
    EXPECT_THAT(facts.shared, ElementsAre(Tcp(30080)));
    EXPECT_THAT(facts.health_checks, ElementsAre(31000));
  }
}

TEST(PortsTextFactsTest, AnErrorLeavesThemAsTheyWere) {
  core::BindFacts facts;
  facts.shared.insert(Tcp(1));
  EXPECT_FALSE(DecodePortsText("[30080", &facts).ok());
  EXPECT_THAT(facts.shared, ElementsAre(Tcp(1)));
}

}  // namespace
}  // namespace npg::sources::service_bind_facts_test
