// SPDX-License-Identifier: Apache-2.0
#include "sources/service_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/port.h"
#include "sources/ports_decoder.h"
#include "sources/skipped_lines.h"
#include "sources/source.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::sources::service_decoder_test {
namespace {

using testing::ReadTestdata;
using testing::Tcp;
using testing::Udp;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

Reading Decode(absl::string_view json) {
  PortsDecoder decoder;
  NPG_EXPECT_OK(decoder.AddDocument(json));
  return std::move(decoder).Take();
}

std::string ErrorOf(absl::string_view json) {
  PortsDecoder decoder;
  const absl::Status status = decoder.AddDocument(json);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

// A Service of type NodePort with one port, of which `port` is the JSON.
std::string Service(absl::string_view name, absl::string_view port,
                    absl::string_view type = "NodePort") {
  return absl::StrCat(R"({"kind":"Service","apiVersion":"v1","metadata":{"namespace":"default",)",
                      R"("name":")", name, R"("},"spec":{"type":")", type, R"(","ports":[)", port,
                      "]}}");
}

ServicePorts DecodeOne(const std::string& json) {
  // As an element, so that it may be anything.
  const simdjson::padded_string text("[" + json + "]");
  simdjson::ondemand::parser parser;
  simdjson::ondemand::document document;
  EXPECT_EQ(parser.iterate(text).get(document), simdjson::SUCCESS) << json;
  simdjson::ondemand::value service;
  EXPECT_EQ(document.at(0).get(service), simdjson::SUCCESS) << json;
  absl::StatusOr<ServicePorts> decoded = DecodeService(service);
  NPG_EXPECT_OK(decoded);
  return decoded.ok() ? *std::move(decoded) : ServicePorts{};
}

TEST(PortListTest, TakesEveryFormOfAnItem) {
  const Reading reading = Decode(
      R"([30080, "30081", "30082/udp", "30082/TCP", {"port": 30083},
          {"port": "30084", "protocol": "udp"},
          {"port": 30085, "protocol": "UDP", "service": "ns/name"}, 1, 65535])");
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Tcp(1), ""), Pair(Tcp(30080), ""), Pair(Tcp(30081), ""),
                          Pair(Tcp(30082), ""), Pair(Udp(30082), ""), Pair(Tcp(30083), ""),
                          Pair(Udp(30084), ""), Pair(Udp(30085), "ns/name"), Pair(Tcp(65535), "")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(PortListTest, EmptyMeansNone) {
  const Reading reading = Decode("[]");
  EXPECT_THAT(reading.ports, IsEmpty());
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(PortListTest, NamesInvalidItemsAndKeepsTheRest) {
  const Reading reading = Decode(
      R"([0, 70000, -1, "http", 30080, 30080, 1.5, null, true, [1], "80/sctp", "80/quic", "",
          {"port": 0}, {"port": 70000}, {"port": "x"}, {}, {"prot": "udp", "port": 1},
          {"port": 2, "protocol": 6}, {"port": 2, "service": "no-slash"},
          {"port": 2, "service": 5}, 18446744073709551615])");
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30080), "")));
  EXPECT_THAT(
      reading.skipped,
      ElementsAre(
          "item 1: port 0 is outside 1-65535", "item 2: port 70000 is outside 1-65535",
          "item 3: port -1 is outside 1-65535", "item 4: \"http\" is not a port number",
          "item 6: port 30080/tcp is listed already", "item 7: port 1.5 is not a port number",
          "item 8: port null is not a number", "item 9: port true is not a number",
          "item 10: port a list is not a number", "item 11: protocol SCTP is not guarded",
          "item 12: \"quic\" is not a protocol (tcp, udp)", "item 13: \"\" is not a port number",
          "item 14: port 0 is outside 1-65535", "item 15: port 70000 is outside 1-65535",
          "item 16: \"x\" is not a port number", "item 17: no \"port\"",
          "item 18: unknown key \"prot\" (known: port, protocol, service)",
          "item 19: protocol is 6", "item 20: service \"no-slash\" is not \"namespace/name\"",
          "item 21: service 5 is not \"namespace/name\"",
          "item 22: port 18446744073709551615 is outside 1-65535"));
}

TEST(PortListTest, NamesAHundredAndCountsTheRest) {
  std::string json = "[30080";
  for (int i = 0; i < 250; ++i) json += ",0";
  const Reading reading = Decode(json + "]");
  ASSERT_EQ(reading.skipped.size(), SkippedLines::kNamed + 1);
  EXPECT_EQ(reading.skipped.back(), "and 150 more");
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30080), "")));
}

TEST(PortListTest, EscapesLineBreaksInMessages) {
  const Reading reading =
      Decode(absl::StrCat(R"(["a\nb\u001b[31m", ")", std::string(1000, 'x'), R"("])"));
  ASSERT_EQ(reading.skipped.size(), 2U);
  for (const std::string& line : reading.skipped) {
    EXPECT_EQ(line.find_first_of("\n\x1b"), std::string::npos);
    EXPECT_LT(line.size(), 200U);
  }
}

TEST(ServiceTest, ContributesItsNodePorts) {
  const ServicePorts decoded =
      DecodeOne(Service("web", R"({"name":"http","port":80,"nodePort":30080},
                {"name":"dns","port":53,"protocol":"UDP","nodePort":30053})"));
  EXPECT_EQ(decoded.service, "default/web");
  EXPECT_THAT(decoded.ports, ElementsAre(Tcp(30080), Udp(30053)));
  EXPECT_THAT(decoded.skipped, IsEmpty());
}

TEST(ServiceTest, LoadBalancersHaveNodePortsButNeedNot) {
  EXPECT_THAT(DecodeOne(Service("lb", R"({"port":80,"nodePort":30080})", "LoadBalancer")).ports,
              ElementsAre(Tcp(30080)));
  for (const char* port :
       {R"({"port":80})", R"({"port":80,"nodePort":0})", R"({"port":80,"nodePort":null})"}) {
    const ServicePorts decoded = DecodeOne(Service("lb", port, "LoadBalancer"));
    EXPECT_THAT(decoded.ports, IsEmpty()) << port;
    EXPECT_THAT(decoded.skipped, IsEmpty()) << port;
  }
}

TEST(ServiceTest, OtherTypesHaveNone) {
  for (const char* type : {"ClusterIP", "ExternalName", ""}) {
    const ServicePorts decoded = DecodeOne(Service("x", R"({"port":80,"nodePort":30080})", type));
    EXPECT_THAT(decoded.ports, IsEmpty()) << type;
    EXPECT_THAT(decoded.skipped, IsEmpty()) << type;
  }
}

TEST(ServiceTest, HealthCheckNodePortIsNotOne) {
  const ServicePorts decoded = DecodeOne(
      R"({"kind":"Service","metadata":{"namespace":"a","name":"b"},
          "spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local",
                  "healthCheckNodePort":31000,"ports":[{"port":80,"nodePort":30080}]}})");
  EXPECT_THAT(decoded.ports, ElementsAre(Tcp(30080)));
}

TEST(ServiceTest, ReportsItsHealthCheckPortAndVersion) {
  const auto decode = [](absl::string_view type, absl::string_view port) {
    return DecodeOne(absl::StrCat(
        R"({"metadata":{"namespace":"a","name":"b","resourceVersion":"17"},"spec":{"type":")", type,
        R"(","healthCheckNodePort":)", port, R"(,"ports":[{"port":80,"nodePort":30080}]}})"));
  };
  EXPECT_EQ(decode("LoadBalancer", "31000").health_check_port, 31000);
  EXPECT_EQ(decode("LoadBalancer", "31000").resource_version, "17");
  EXPECT_EQ(decode("ClusterIP", "31000").health_check_port, 0);
  EXPECT_EQ(decode("ClusterIP", "70000").skipped.size(), 0U);
  for (const char* none : {"0", "null"}) {
    EXPECT_EQ(decode("LoadBalancer", none).health_check_port, 0);
    EXPECT_THAT(decode("LoadBalancer", none).skipped, IsEmpty());
  }
  const ServicePorts bad = decode("LoadBalancer", "70000");
  EXPECT_EQ(bad.health_check_port, 0);
  EXPECT_THAT(bad.ports, ElementsAre(Tcp(30080)));
  EXPECT_THAT(bad.skipped, ElementsAre("a/b: healthCheckNodePort 70000 is outside 1-65535"));
}

TEST(ServiceTest, ItsMembersComeInAnyOrder) {
  const ServicePorts decoded = DecodeOne(
      R"({"status":{"loadBalancer":{}},"spec":{"ports":[{"protocol":"UDP","nodePort":30053},
          {"nodePort":70000,"port":5,"name":"late"}],"selector":{"type":"x","ports":[]},
          "type":"NodePort"},"metadata":{"labels":{"name":"x","namespace":"y"},"name":"b",
          "ownerReferences":[{"name":"z"}],"namespace":"a"},"kind":"Service","apiVersion":"v1"})");
  EXPECT_EQ(decoded.service, "a/b");
  EXPECT_THAT(decoded.ports, ElementsAre(Udp(30053)));
  EXPECT_THAT(decoded.skipped, ElementsAre("a/b port late: nodePort 70000 is outside 1-65535"));
}

TEST(ServiceTest, TheFirstOfTwoMembersCounts) {
  const ServicePorts decoded = DecodeOne(
      R"({"metadata":{"name":"a","name":"b"},"metadata":{"name":"c"},
          "spec":{"type":"NodePort","type":"ClusterIP","ports":[{"nodePort":1,"nodePort":2}],
          "ports":[{"nodePort":3}]},"spec":null})");
  EXPECT_EQ(decoded.service, "default/a");
  EXPECT_THAT(decoded.ports, ElementsAre(Tcp(1)));
  EXPECT_THAT(decoded.skipped, IsEmpty());
}

TEST(ServiceTest, NullIsAbsent) {
  EXPECT_THAT(DecodeOne(R"({"metadata":null,"spec":{}})").skipped,
              ElementsAre("Service without metadata.name"));
  EXPECT_THAT(DecodeOne(R"({"metadata":{"name":"a"},"spec":null})").skipped,
              ElementsAre("default/a: no spec"));
  const ServicePorts decoded = DecodeOne(
      R"({"kind":null,"apiVersion":null,"metadata":{"name":"a","namespace":null},
          "spec":{"type":"NodePort","healthCheckNodePort":null,
                  "ports":[{"name":null,"port":null,"protocol":null,"nodePort":1}]}})");
  EXPECT_EQ(decoded.service, "default/a");
  EXPECT_THAT(decoded.ports, ElementsAre(Tcp(1)));
  EXPECT_THAT(decoded.skipped, IsEmpty());
}

TEST(ServiceTest, QuotesNumbersAsWritten) {
  const ServicePorts decoded =
      DecodeOne(Service("web", R"({"nodePort":1.50}, {"nodePort":1e3}, {"nodePort":-0},
                {"nodePort":99999999999999999999}, {"nodePort":true}, {"nodePort":[30080]},
                {"nodePort":1,"protocol":6}, {"nodePort":2,"protocol":"","port":-7.5})"));
  EXPECT_THAT(decoded.ports, IsEmpty());
  EXPECT_THAT(decoded.skipped,
              ElementsAre("default/web ports[0]: nodePort 1.50 is not a port number",
                          "default/web ports[1]: nodePort 1e3 is not a port number",
                          "default/web ports[3]: nodePort 99999999999999999999 is outside 1-65535",
                          "default/web ports[4]: nodePort true is not a number",
                          "default/web ports[5]: nodePort a list is not a number",
                          "default/web ports[6]: protocol is 6",
                          "default/web port -7.5: \"\" is not a protocol (tcp, udp)"));
}

TEST(ServiceTest, ReportsObjectsOfOtherKinds) {
  for (const char* json : {R"({"kind":"Pod","metadata":{"name":"a"},"spec":{}})",
                           R"({"kind":"Service","apiVersion":"serving.knative.dev/v1"})"}) {
    const ServicePorts decoded = DecodeOne(json);
    EXPECT_FALSE(decoded.is_service) << json;
    EXPECT_EQ(decoded.service, "") << json;
    EXPECT_THAT(decoded.skipped, ElementsAre(HasSubstr("is not a Service"))) << json;
  }
  EXPECT_TRUE(DecodeOne("{}").is_service);
}

TEST(ServiceTest, NamesBadPortsAndKeepsTheRest) {
  const ServicePorts decoded = DecodeOne(
      Service("web", R"({"name":"http","port":80,"nodePort":70000}, {"port":81,"nodePort":-1},
                {"nodePort":"x"}, {"name":"s","port":82,"nodePort":30082,"protocol":"SCTP"},
                {"name":"q","port":83,"nodePort":30083,"protocol":"QUIC"}, 5,
                {"name":"ok","port":84,"nodePort":30084})"));
  EXPECT_THAT(decoded.ports, ElementsAre(Tcp(30084)));
  EXPECT_THAT(decoded.skipped,
              ElementsAre("default/web port http: nodePort 70000 is outside 1-65535",
                          "default/web port 81: nodePort -1 is outside 1-65535",
                          "default/web ports[2]: nodePort \"x\" is not a number",
                          "default/web port q: \"QUIC\" is not a protocol (tcp, udp)",
                          "default/web ports[5]: 5 is no port"));
}

TEST(ServiceTest, LeavesOutSctpWithoutALine) {
  const ServicePorts decoded =
      DecodeOne(Service("web", R"({"port":82,"nodePort":30082,"protocol":"SCTP"},
                {"protocol":"SCTP","port":83,"nodePort":70000},
                {"port":84,"nodePort":30084,"protocol":"UDP"})"));
  EXPECT_EQ(decoded.ports.size(), 1U);
  EXPECT_THAT(decoded.skipped,
              ElementsAre("default/web port 83: nodePort 70000 is outside 1-65535"));
}

TEST(ServiceTest, EscapesLineBreaksInMessages) {
  const ServicePorts decoded =
      DecodeOne(Service("web", R"({"name":"a\nb","nodePort":1,"protocol":"\u001b[31m\n"})"));
  EXPECT_THAT(decoded.skipped,
              ElementsAre("default/web port a\\nb: \"?[31m?\" is not a protocol (tcp, udp)"));
}

TEST(ServiceTest, NamesObjectsThatAreNoService) {
  EXPECT_THAT(DecodeOne(R"({"metadata":{"namespace":"a","name":"b"}})").skipped,
              ElementsAre("a/b: no spec"));
  EXPECT_THAT(DecodeOne(R"({"metadata":{"name":"b"},"spec":[]})").skipped,
              ElementsAre("default/b: no spec"));
  EXPECT_THAT(DecodeOne(R"({"spec":{"type":"NodePort"}})").skipped,
              ElementsAre("Service without metadata.name"));
  EXPECT_THAT(DecodeOne(R"({"metadata":{"name":"a b","namespace":"x"},"spec":{}})").skipped,
              ElementsAre("\"x/a b\" is not the name of a Service"));
  EXPECT_THAT(
      DecodeOne(R"({"metadata":{"name":"b"},"spec":{"type":"NodePort","ports":7}})").skipped,
      ElementsAre("default/b: spec.ports is 7, not a list"));
  EXPECT_THAT(DecodeOne("7").skipped, ElementsAre("7 is not a Service"));
}

TEST(DocumentTest, ServiceListOfAnApiServer) {
  const Reading reading = Decode(ReadTestdata("services-list.json"));
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Tcp(34567), "default/web"), Pair(Tcp(35924), "default/load-0"),
                          Pair(Tcp(46121), "default/load-1")));
  EXPECT_THAT(reading.skipped, IsEmpty());
}

TEST(DocumentTest, ASingleService) {
  EXPECT_THAT(Decode(Service("web", R"({"port":80,"nodePort":30080})")).ports,
              ElementsAre(Pair(Tcp(30080), "default/web")));
}

TEST(DocumentTest, AListMayHoldOtherThings) {
  const Reading reading = Decode(absl::StrCat(
      R"({"kind":"List","apiVersion":"v1","items":[{"kind":"Pod","apiVersion":"v1"},)",
      R"({"kind":"Service","apiVersion":"serving.knative.dev/v1","metadata":{"name":"k"}},)",
      R"({"metadata":{"name":"kindless"}},)", Service("web", R"({"port":80,"nodePort":30080})"),
      ",5]}"));
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30080), "default/web")));
  EXPECT_THAT(reading.skipped, ElementsAre("item 5: 5 is not a Service"));
}

TEST(DocumentTest, ItemsOfAServiceListNeedNoKind) {
  const Reading reading = Decode(
      R"({"kind":"ServiceList","items":[{"spec":{}},
          {"metadata":{"name":"b"},"spec":{"type":"NodePort","ports":[{"nodePort":30080}]}}]})");
  EXPECT_THAT(reading.ports, ElementsAre(Pair(Tcp(30080), "default/b")));
  EXPECT_THAT(reading.skipped, ElementsAre("item 1: Service without metadata.name"));
  EXPECT_THAT(Decode(R"({"kind":"ServiceList","items":null})").ports, IsEmpty());
}

TEST(DocumentTest, NamesAPortThatTwoServicesHave) {
  const Reading reading = Decode(
      absl::StrCat(R"({"kind":"List","items":[)", Service("a", R"({"port":80,"nodePort":30080})"),
                   ",", Service("b", R"({"port":80,"nodePort":30080})"), ",",
                   Service("b", R"({"port":80,"nodePort":30080,"protocol":"UDP"})"), "]}"));
  EXPECT_THAT(reading.ports,
              ElementsAre(Pair(Tcp(30080), "default/a"), Pair(Udp(30080), "default/b")));
  EXPECT_THAT(reading.skipped,
              ElementsAre("default/b: nodePort 30080/tcp is listed already for default/a"));
}

TEST(DocumentTest, RefusesOtherContent) {
  EXPECT_THAT(ErrorOf("{}"), HasSubstr("an object without \"kind\""));
  EXPECT_THAT(ErrorOf(R"({"kind":"Pod"})"), HasSubstr("kind is \"Pod\""));
  EXPECT_THAT(ErrorOf(R"({"kind":"ServiceList"})"), HasSubstr("without \"items\""));
  EXPECT_THAT(ErrorOf(R"({"kind":"List","items":{}})"), HasSubstr("an object, not a list"));
  EXPECT_THAT(ErrorOf("30080"), HasSubstr("30080 is not a document; expected a list of ports"));
  EXPECT_THAT(ErrorOf("null"), HasSubstr("null is not a document"));
  for (const char* json : {"", "[30080", "[30080,]", "{\"kind\":\"List\",\"items\":[", "[1] [2]",
                           "nonsense", "[\"\xff\"]"}) {
    EXPECT_THAT(ErrorOf(json), HasSubstr("not valid JSON")) << json;
  }
  EXPECT_THAT(ErrorOf(std::string(5000, '[') + std::string(5000, ']')),
              HasSubstr("not valid JSON"));
}

}  // namespace
}  // namespace npg::sources::service_decoder_test
