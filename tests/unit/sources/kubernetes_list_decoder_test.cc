// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/list_decoder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "core/port.h"
#include "sources/service_decoder.h"
#include "testing/byte_step.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"
#include "unit/sources/kubernetes_chunks.h"

namespace npg::sources::kubernetes_list_decoder_test {
namespace {

using testing::ReadTestdata;

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

struct Decoded {
  std::vector<ServicePorts> services;
  absl::StatusOr<ListDecoder::Page> page;

  // The result as text, for comparison and messages.
  std::string Text() const {
    std::string text;
    for (const ServicePorts& service : services) {
      absl::StrAppend(&text, service.service, " rv ", service.resource_version, " health ",
                      service.health_check_port);
      for (const core::PortKey& port : service.ports) {
        absl::StrAppend(&text, " ", core::ToString(port));
      }
      for (const std::string& line : service.skipped) absl::StrAppend(&text, " [", line, "]");
      text += "\n";
    }
    // Leaves out the message, which quotes the bytes seen so far and so depends on the cuts.
    if (!page.ok()) return absl::StrCat(text, absl::StatusCodeToString(page.status().code()));
    return absl::StrCat(text, "rv ", page->resource_version, " continue ", page->continue_token,
                        " items ", page->items);
  }
};

Decoded DecodeChunks(const Chunks& chunks) {
  Decoded decoded;
  ListDecoder decoder(
      [&](ServicePorts&& service) { decoded.services.push_back(std::move(service)); });
  absl::Status status;
  for (const absl::string_view chunk : chunks) {
    status = decoder.Feed(chunk);
    if (!status.ok()) break;
  }
  decoded.page = decoder.Finish();
  // Finish() must return an earlier error.
  EXPECT_TRUE(status.ok() || decoded.page.status() == status) << status;
  return decoded;
}

// Decodes `json` cut in many ways, and expects the same result.
Decoded Decode(absl::string_view json) {
  Decoded whole = DecodeChunks({json});
  for (const Chunks& chunks : ManyCuts(json)) {
    EXPECT_EQ(DecodeChunks(chunks).Text(), whole.Text()) << "in " << chunks.size() << " pieces";
  }
  return whole;
}

std::string ErrorOf(absl::string_view json) {
  const Decoded decoded = Decode(json);
  EXPECT_EQ(decoded.page.status().code(), absl::StatusCode::kInvalidArgument) << json;
  std::string message(decoded.page.status().message());
  EXPECT_THAT(message, StartsWith("list of Services ")) << json;
  EXPECT_EQ(message.find_first_of("\n\x1b"), std::string::npos) << json;
  EXPECT_LT(message.size(), 500U) << json;
  return message;
}

// A ServiceList of `items`.
std::string List(absl::string_view items) {
  return absl::StrCat(R"({"kind":"ServiceList","apiVersion":"v1","metadata":)",
                      R"({"resourceVersion":"7"},"items":[)", items, "]}");
}

// A Service "default/NAME" with one nodePort, and `more` in its metadata.
std::string Item(absl::string_view name, int node_port, absl::string_view more = "") {
  return absl::StrCat(R"({"metadata":{"name":")", name, R"(","namespace":"default")", more,
                      R"(},"spec":{"type":"NodePort","ports":[{"port":80,"nodePort":)", node_port,
                      "}]}}");
}

TEST(ListDecoderTest, DecodesARecordedList) {
  const Decoded decoded = Decode(ReadTestdata("services-list.json"));
  EXPECT_EQ(decoded.Text(),
            "default/kubernetes rv 205 health 0\n"
            "default/web rv 285 health 0 34567/tcp\n"
            "default/kubernetes rv 205 health 0\n"
            "default/load-0 rv 300 health 0 35924/tcp\n"
            "default/load-1 rv 306 health 0 46121/tcp\n"
            "rv 30363 continue  items 5");
}

TEST(ListDecoderTest, RefusesEveryProperPrefix) {
  const std::string list = ReadTestdata("services-list.json");
  const size_t end = list.rfind('}');
  for (size_t length = 0; length <= end; length += testing::kByteStep) {
    const Decoded decoded = DecodeChunks({absl::string_view(list).substr(0, length)});
    EXPECT_EQ(decoded.page.status().code(), absl::StatusCode::kInvalidArgument) << length;
  }
}

TEST(ListDecoderTest, ACorruptByteIsAnErrorOrAnotherList) {
  const std::string list = ReadTestdata("services-list.json");
  std::mt19937 random(1);
  size_t refused = 0;
  for (size_t at = 0; at < list.size(); at += testing::kByteStep) {
    for (int i = 0; i < 2; ++i) {
      std::string corrupt = list;
      corrupt[at] = HostileByte(random);
      const Decoded decoded = DecodeChunks({corrupt});
      if (!decoded.page.ok()) {
        ++refused;
        continue;
      }
      // Never fewer items: a missing one would count as deleted.
      EXPECT_EQ(decoded.page->items, 5U) << at;
      EXPECT_THAT(decoded.services, SizeIs(5)) << at;
      for (const ServicePorts& service : decoded.services) {
        EXPECT_EQ(service.service.empty(),
                  !service.skipped.empty() && service.ports.empty() && service.service.empty())
            << at;
      }
    }
  }
  EXPECT_GT(refused, list.size() / testing::kByteStep);
}

TEST(ListDecoderTest, ReadsPages) {
  const Decoded decoded = Decode(
      R"({"items":[{}],"metadata":{"remainingItemCount":9,"continue":"eyJ2=","resourceVersion":)"
      R"("12"},"apiVersion":"v1","kind":"ServiceList"})");
  NPG_ASSERT_OK(decoded.page);
  EXPECT_EQ(decoded.page->resource_version, "12");
  EXPECT_EQ(decoded.page->continue_token, "eyJ2=");
  EXPECT_EQ(decoded.page->items, 1U);
}

TEST(ListDecoderTest, NamesSkippedItemsAndKeepsTheRest) {
  const Decoded decoded = Decode(List(absl::StrCat(
      Item("a", 30000), ",", Item("b", 70000), ",", "{},", R"({"metadata":{"name":"c"}},)",
      R"({"kind":"Pod","metadata":{"name":"d"},"spec":{}},)", Item("e", -1), ",", Item("f", 0), ",",
      Item("g", 30001))));
  NPG_ASSERT_OK(decoded.page);
  EXPECT_EQ(decoded.Text(),
            "default/a rv  health 0 30000/tcp\n"
            "default/b rv  health 0 [default/b port 80: nodePort 70000 is outside 1-65535]\n"
            " rv  health 0 [Service without metadata.name]\n"
            "default/c rv  health 0 [default/c: no spec]\n"
            " rv  health 0 [an object of kind \"Pod\", apiVersion \"\", is not a Service]\n"
            "default/e rv  health 0 [default/e port 80: nodePort -1 is outside 1-65535]\n"
            "default/f rv  health 0\n"
            "default/g rv  health 0 30001/tcp\n"
            "rv 7 continue  items 8");
}

TEST(ListDecoderTest, OnlyAServiceListMayLackItems) {
  for (const char* items : {R"("items":[],)", R"("items":null,)", ""}) {
    const Decoded decoded = Decode(
        absl::StrCat("{", items, R"("kind":"ServiceList","metadata":{"resourceVersion":"1"}})"));
    NPG_ASSERT_OK(decoded.page);
    EXPECT_EQ(decoded.page->items, 0U);
    EXPECT_THAT(ErrorOf(absl::StrCat("{", items, R"("kind":"PodList","metadata":)",
                                     R"({"resourceVersion":"1"}})")),
                HasSubstr("is of kind \"PodList\", apiVersion \"\", not a v1 ServiceList"));
    ErrorOf(absl::StrCat("{", items, R"("metadata":{"resourceVersion":"1"}})"));
  }
  // Misplaced or mistyped items are an error, not an empty list.
  const std::string list = List(Item("a", 30000));
  EXPECT_THAT(ErrorOf(absl::StrReplaceAll(list, {{"items", "itemz"}})),
              HasSubstr("has no \"items\" but \"itemz\""));
  EXPECT_THAT(ErrorOf(absl::StrReplaceAll(list, {{"items", "item\\u0073"}})),
              HasSubstr("has items that are a list"));
  EXPECT_THAT(ErrorOf(R"({"kind":"ServiceList","items":{},"metadata":{"resourceVersion":"1"}})"),
              HasSubstr("has items that are an object"));
  EXPECT_THAT(ErrorOf(R"({"kind":"ServiceList","items":[{}],"items":[],"metadata":{}})"),
              HasSubstr("has \"items\" twice"));
}

TEST(ListDecoderTest, IgnoresItemsInOtherPlaces) {
  const Decoded decoded = Decode(absl::StrCat(
      R"({"kind":"ServiceList","metadata":{"items":[)", Item("x", 1),
      R"(],"annotations":{"items":"\"items\":[{}]"},"resourceVersion":"3"},"items":[)",
      Item("a", 30000, R"(,"items":[{"metadata":{"name":"y"}}],"annotations":{"a":"]}"})"), "]}"));
  EXPECT_EQ(decoded.Text(), "default/a rv  health 0 30000/tcp\nrv 3 continue  items 1");
}

TEST(ListDecoderTest, NamesTheContentThatIsNoList) {
  EXPECT_THAT(ErrorOf("<html>\n<h1>502</h1>"), HasSubstr("is no JSON object: \"<"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("is empty"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("is no JSON object"));
  EXPECT_EQ(ErrorOf(R"({"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired",)"
                    R"("message":"too\nold","code":410,"metadata":{}})"),
            "list of Services is a Status: 410 Expired: too?old");
  EXPECT_THAT(ErrorOf(R"({"kind":"ServiceList","apiVersion":"v2","items":[],"metadata":{}})"),
              HasSubstr("apiVersion \"v2\""));
  EXPECT_THAT(ErrorOf(R"({"kind":"\u001b[31m\n","items":[]})"), HasSubstr("\\x1b[31m\\n"));
  for (const char* metadata : {"{}", "null", "[]", R"({"resourceVersion":""})",
                               R"({"resourceVersion":7})", R"({"resourceVersion":null})"}) {
    EXPECT_THAT(
        ErrorOf(absl::StrCat(R"({"kind":"ServiceList","items":[],"metadata":)", metadata, "}")),
        HasSubstr("has no metadata.resourceVersion"));
  }
  EXPECT_THAT(ErrorOf(List("{}") + List("{}")), HasSubstr("goes on after its end"));
  EXPECT_THAT(ErrorOf(List("{} {}")), HasSubstr("is not valid JSON"));
  EXPECT_THAT(ErrorOf(List("5")), HasSubstr("not an object"));
}

TEST(ListDecoderTest, RefusesInvalidJsonAnywhereInAnItem) {
  for (const char* more : {R"(,"managedFields":[1,})", R"(,"managedFields":tru)",
                           R"(,"annotations":{"a":"\x"})", R"(,"labels":{"a" "b"})"}) {
    ErrorOf(List(absl::StrCat(Item("a", 30000), ",", Item("b", 30001, more))));
  }
  EXPECT_THAT(ErrorOf(List(Item("a", 30000, ",\"annotations\":{\"a\":\"\xff\xfe\"}"))),
              AllOf(HasSubstr("has an item 1 that is not valid JSON"), HasSubstr("UTF-8")));
  EXPECT_THAT(ErrorOf(List(Item("a\\ud800", 30000))), HasSubstr("has an item 1 that is not valid"));
}

TEST(ListDecoderTest, AcceptsAnyTextInAnAnnotation) {
  for (const char* annotation :
       {R"(\ud83d\ude00)", R"(\ud800)", R"(\udfff\ud800)", "\xf0\x9f\x98\x80", R"(\u0000)",
        R"({\"items\":[{}]}\n)", R"(\\\")", "]}]}]}"}) {
    const Decoded decoded = Decode(List(absl::StrCat(
        Item("a", 30000, absl::StrCat(R"(,"annotations":{"a":")", annotation, R"("})")), ",",
        Item("b", 30001))));
    EXPECT_EQ(decoded.Text(),
              "default/a rv  health 0 30000/tcp\ndefault/b rv  health 0 30001/tcp\n"
              "rv 7 continue  items 2")
        << annotation;
  }
}

TEST(ListDecoderTest, BoundsTheSizeOfAnItem) {
  const auto list = [](size_t size) {
    return List(absl::StrCat(
        Item("a", 30000, absl::StrCat(R"(,"annotations":{"a":")", std::string(size, 'x'), R"("})")),
        ",", Item("b", 30001)));
  };
  for (const size_t chunk : {size_t{16} << 10, size_t{1} << 30}) {
    EXPECT_EQ(DecodeChunks(CutInto(list(5'000'000), chunk)).Text(),
              "default/a rv  health 0 30000/tcp\ndefault/b rv  health 0 30001/tcp\n"
              "rv 7 continue  items 2");
    const Decoded refused = DecodeChunks(CutInto(list(size_t{16} << 20), chunk));
    EXPECT_EQ(refused.page.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(refused.services, IsEmpty());
  }
}

TEST(ListDecoderTest, NamesAtMostAHundredBadPorts) {
  std::string ports = R"({"nodePort":-1})";
  for (int i = 0; i < 1000; ++i) ports += R"(,{"nodePort":-1})";
  const Decoded decoded = DecodeChunks({List(absl::StrCat(
      R"({"spec":{"ports":[)", ports, R"(],"type":"NodePort"},"metadata":{"name":"a"}})"))});
  ASSERT_THAT(decoded.services, SizeIs(1));
  EXPECT_THAT(decoded.services[0].skipped, SizeIs(101));
  EXPECT_EQ(decoded.services[0].skipped.back(), "default/a: and 901 more");
}

}  // namespace
}  // namespace npg::sources::kubernetes_list_decoder_test
