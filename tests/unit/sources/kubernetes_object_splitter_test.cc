// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/object_splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <simdjson.h>

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "testing/status_asserts.h"
#include "unit/sources/kubernetes_chunks.h"
#include "unit/sources/kubernetes_split.h"

namespace npg::sources::kubernetes_object_splitter_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Mode = ObjectSplitter::Mode;

TEST(ListSplitterTest, TakesTheItemsOutOfTheDocument) {
  const Split split = SplitText(Mode::kList,
                                " {\"kind\":\"ServiceList\", \"items\" : [ {\"a\":[1,{}]} ,\n"
                                "{} , {\"b\":\"]}\\\"\"}\n] ,\"metadata\":{\"x\":[]}}\n ");
  NPG_ASSERT_OK(split.status);
  EXPECT_THAT(split.objects, ElementsAre(R"({"a":[1,{}]})", "{}", R"({"b":"]}\""})"));
  EXPECT_EQ(split.envelope, R"({"kind":"ServiceList", "items" : [] ,"metadata":{"x":[]}})");
}

TEST(ListSplitterTest, ItemsAreThoseOfTheTopLevel) {
  // Not a value, a nested member, or a string that looks like a member.
  for (const char* text :
       {R"({"a":"items","b":[{"c":1}]})", R"({"metadata":{"items":[{"c":1}]}})",
        R"({"metadata":{"annotations":{"a":"\"items\":[{}]"}}})", R"({"Items":[{}]})",
        R"({"items ":[{}]})", R"({"items":{"items":[{}]}})", R"({"items":null})",
        R"({"items":"x"})", R"([{"items":[{}]}])", R"({"a":["items",[{}]]})"}) {
    const Split split = SplitText(Mode::kList, text);
    EXPECT_THAT(split.objects, IsEmpty()) << text;
    if (text[0] == '{') {
      EXPECT_EQ(split.envelope, text);
    }
  }
  EXPECT_THAT(
      SplitText(Mode::kList, R"({"metadata":{"items":[{}]},"items":[{"items":[{}]}]})").objects,
      ElementsAre(R"({"items":[{}]})"));
}

TEST(ListSplitterTest, ItemsAreObjects) {
  for (const char* item : {"5", "null", "\"x\"", "[]", "[{}]", "true", "{},5", "{},\"a\"", "5,{}",
                           "\"{}\"", "{},null,{}"}) {
    const Split split = SplitText(Mode::kList, absl::StrCat("{\"items\":[", item, "]}"));
    EXPECT_EQ(split.status.code(), absl::StatusCode::kInvalidArgument) << item;
  }
  EXPECT_THAT(std::string(SplitText(Mode::kList, R"({"items":[{}, 5]})").status.message()),
              HasSubstr("has an item that is \"5\", not an object, at byte"));
}

TEST(ListSplitterTest, RefusesTextAfterTheDocument) {
  const std::string list = R"({"items":[{}]})";
  NPG_EXPECT_OK(SplitText(Mode::kList, list + " \r\n\t").status);
  for (const char* rest : {"{}", "x", "]", "\x01", ",", "\"\""}) {
    EXPECT_THAT(std::string(SplitText(Mode::kList, list + rest).status.message()),
                HasSubstr("goes on after its end"))
        << rest;
  }
}

TEST(ListSplitterTest, RefusesEveryProperPrefix) {
  const std::string text = "{\"kind\":\"L\",\"items\":[{\"a\":1},{\"b\":\"\\u00e4\"}],\"m\":{}}";
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_FALSE(SplitText(Mode::kList, text.substr(0, length)).status.ok()) << length;
  }
  EXPECT_THAT(std::string(SplitText(Mode::kList, "").status.message()), HasSubstr("is empty"));
  EXPECT_THAT(std::string(SplitText(Mode::kList, "{\"items\":[{}").status.message()),
              HasSubstr("was cut: it ends after 12 bytes and 1 objects"));
}

TEST(StreamSplitterTest, PassesOnEachObject) {
  const Split split =
      SplitText(Mode::kStream, "\n{\"a\":1}{\"b\":{}}\n\n \t{\"c\":\"}{\"}\r\n{}\n");
  NPG_ASSERT_OK(split.status);
  EXPECT_THAT(split.objects, ElementsAre("{\"a\":1}", "{\"b\":{}}", "{\"c\":\"}{\"}", "{}"));
  EXPECT_EQ(split.envelope, "");
  NPG_EXPECT_OK(SplitText(Mode::kStream, "").status);
}

TEST(StreamSplitterTest, PassesOnAnObjectAsSoonAsItEnds) {
  ObjectSplitter splitter(Mode::kStream);
  size_t objects = 0;
  const auto count = [&](simdjson::padded_string_view) {
    ++objects;
    return absl::OkStatus();
  };
  NPG_EXPECT_OK(splitter.Feed("{\"a\":1", count));
  EXPECT_EQ(objects, 0U);
  NPG_EXPECT_OK(splitter.Feed("}", count));
  EXPECT_EQ(objects, 1U);
  EXPECT_FALSE(splitter.Feed("x", count).ok());
}

TEST(SplitterTest, QuotesInvalidJsonAtOnce) {
  for (const Mode mode : {Mode::kList, Mode::kStream}) {
    ObjectSplitter splitter(mode);
    const absl::Status status = splitter.Feed(
        "\n<html>\n<head>\x1b[31m", [](simdjson::padded_string_view) { return absl::OkStatus(); });
    EXPECT_EQ(status.message(), "is no JSON object: \"<html>\\n<head>\\x1b[31m\" at byte 1");
    // Later calls return the same error.
    EXPECT_EQ(splitter.Feed("{}", [](simdjson::padded_string_view) { return absl::OkStatus(); }),
              status);
    EXPECT_EQ(splitter.Finish().status(), status);
  }
  for (const char* text : {"[]", "5", "\"a\"", "null", "}", "\xef\xbb\xbf{}", "k8s\n"}) {
    EXPECT_FALSE(SplitText(Mode::kStream, text).status.ok()) << text;
    EXPECT_FALSE(SplitText(Mode::kList, text).status.ok()) << text;
  }
}

TEST(SplitterTest, StopsWhenTheCallbackFails) {
  ObjectSplitter splitter(Mode::kStream);
  size_t objects = 0;
  const auto refuse = [&](simdjson::padded_string_view) {
    return ++objects == 2 ? absl::CancelledError("enough") : absl::OkStatus();
  };
  EXPECT_EQ(splitter.Feed("{}{}{}", refuse), absl::CancelledError("enough"));
  EXPECT_EQ(splitter.Feed("{}", refuse), absl::CancelledError("enough"));
  EXPECT_EQ(objects, 2U);
}

TEST(SplitterTest, AcceptsJson) {
  for (const char* value :
       {"0", "-0", "1.5", "-1.5e+10", "1E-2", "10", "true", "false", "null", "\"\"", "[]", "{}",
        "[[],{},[1,2]]", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\uD83D\\uDE00\"", "\"\\ud800\"",
        "\"\x7f\xc3\xa4\"", " [ 1 , 2 ] ", "{ \"a\" : { \"b\" : 1 } , \"a\" : 2 }"}) {
    NPG_EXPECT_OK(SplitText(Mode::kStream, absl::StrCat("{\"x\":", value, "}")).status);
  }
}

TEST(SplitterTest, RefusesInvalidJson) {
  for (const char* text : {"{,}",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{\"a\":1 \"b\":2}",
                           "{\"a\" 1}",
                           "{a:1}",
                           "{\"a\":1]",
                           "{\"a\":[1}",
                           "{\"a\":[}]}",
                           "{\"a\":[1,]}",
                           "{\"a\":[,1]}",
                           "{\"a\":[1 2]}",
                           "{\"a\":[\"b\":1]}",
                           "{\"a\"::1}",
                           "{\"a\":,}",
                           "{1:2}",
                           "{\"a\":{\"b\":}}",
                           "{null:1}",
                           "{\"a\":01}",
                           "{\"a\":-}",
                           "{\"a\":1.}",
                           "{\"a\":.5}",
                           "{\"a\":1e}",
                           "{\"a\":1e+}",
                           "{\"a\":+1}",
                           "{\"a\":0x1}",
                           "{\"a\":1-1}",
                           "{\"a\":tru}",
                           "{\"a\":nullx}",
                           "{\"a\":NaN}",
                           "{\"a\":True}",
                           "{\"a\":'b'}",
                           "{\"a\":\"\\x\"}",
                           "{\"a\":\"\\u12g4\"}",
                           "{\"a\":\"\\u123\"}",
                           "{\"a\":\"\n\"}",
                           "{\"a\":\"\t\"}",
                           "{\"a\":1}}",
                           "{\"a\":\x01}",
                           "{\"a\":1/**/}",
                           "{]",
                           "{\"a\":\xc3\xa4}",
                           "{\"a\":true false}",
                           "{\"a\":\"b\"\"c\"}",
                           "{\"a\" \"b\":1}"}) {
    const Split split = SplitText(Mode::kStream, text);
    EXPECT_EQ(split.status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(split.status.message().find_first_of("\n\x01"), absl::string_view::npos) << text;
  }
  EXPECT_EQ(SplitText(Mode::kStream, "{\"a\":1 \"b\":2}").status.message(),
            "is not valid JSON: unexpected '\\\"' at byte 7");
}

TEST(SplitterTest, BoundsTheDepth) {
  // The document and a member's list are outside of the innermost.
  const size_t inner = ObjectSplitter::kMaxDepth - 1;
  const auto nested = [](size_t depth) {
    return absl::StrCat("{\"a\":", std::string(depth, '['), std::string(depth, ']'), "}");
  };
  NPG_EXPECT_OK(SplitText(Mode::kStream, nested(inner)).status);
  EXPECT_THAT(std::string(SplitText(Mode::kStream, nested(inner + 1)).status.message()),
              HasSubstr("nested more than 1000 deep"));
  EXPECT_FALSE(SplitChunks(Mode::kList, {std::string(5'000'000, '{')}).status.ok());
  const std::string brackets = "{\"items\":[" + std::string(5'000'000, '[');
  EXPECT_FALSE(SplitChunks(Mode::kList, {brackets}).status.ok());
}

TEST(SplitterTest, BoundsObjectsAndEnvelope) {
  const auto object = [](size_t size) { return "{\"a\":\"" + std::string(size - 8, 'x') + "\"}"; };
  const std::string largest = object(ObjectSplitter::kMaxObject);
  const std::string too_large = object(ObjectSplitter::kMaxObject + 1);
  for (const size_t chunk : {size_t{16} << 10, size_t{1} << 30}) {
    EXPECT_THAT(SplitChunks(Mode::kStream, CutInto(largest, chunk)).objects, SizeIs(1));
    const Split refused = SplitChunks(Mode::kStream, CutInto(too_large, chunk));
    EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(refused.status.message()), HasSubstr("more than 16 MiB"));
    EXPECT_THAT(refused.objects, IsEmpty());
    NPG_EXPECT_OK(
        SplitChunks(Mode::kList, CutInto(object(ObjectSplitter::kMaxEnvelope), chunk)).status);
    EXPECT_EQ(SplitChunks(Mode::kList, CutInto(object(ObjectSplitter::kMaxEnvelope + 1), chunk))
                  .status.code(),
              absl::StatusCode::kResourceExhausted);
  }
}

TEST(SplitterTest, HoldsOneObjectAndReleasesItsMemory) {
  const auto drop = [](simdjson::padded_string_view) { return absl::OkStatus(); };
  const std::string item = "{\"a\":\"" + std::string(2500, 'x') + "\"},\n";
  std::string many;
  for (int i = 0; i < 1000; ++i) many += item;
  ObjectSplitter splitter(Mode::kList);
  NPG_ASSERT_OK(splitter.Feed("{\"items\":[", drop));
  for (int i = 0; i < 10; ++i) {  // 25 MB, in chunks that are large on purpose
    NPG_ASSERT_OK(splitter.Feed(many, drop));
    EXPECT_LT(splitter.held(), size_t{256} << 10);
  }
  NPG_ASSERT_OK(splitter.Feed("{\"a\":\"" + std::string(5'000'000, 'x'), drop));
  EXPECT_GT(splitter.held(), 5'000'000U);
  NPG_ASSERT_OK(splitter.Feed("\"},", drop));
  EXPECT_LT(splitter.held(), size_t{256} << 10);
  // White space is not held.
  NPG_ASSERT_OK(splitter.Feed(std::string(5'000'000, ' '), drop));
  NPG_ASSERT_OK(splitter.Feed("{}]" + std::string(500'000, ' ') + "}", drop));
  NPG_EXPECT_OK(splitter.Finish());
}

}  // namespace
}  // namespace npg::sources::kubernetes_object_splitter_test
