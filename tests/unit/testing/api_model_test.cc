// SPDX-License-Identifier: Apache-2.0
#include "testing/api_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "testing/api_query.h"
#include "testing/status_asserts.h"
#include "unit/testing/api_model_test.h"

namespace npg::testing::api_model_test {
namespace {

using ::testing::HasSubstr;

TEST(ApiModelRecorded, WatchIsTheRecordedOneByteForByte) {
  const std::string recorded = Testdata("services-watch.jsonl");
  ApiModel model;
  model.AdvanceTo(30575);
  const auto watch = Watch(model,
                           "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&"
                           "allowWatchBookmarks=true");
  std::string sent = watch->Next();
  for (const absl::string_view line : absl::StrSplit(recorded, '\n', absl::SkipEmpty())) {
    const json event = json::parse(line);
    const json& metadata = event["object"]["metadata"];
    if (event["type"] == "BOOKMARK") continue;
    if (event["type"] == "DELETED") {
      model.AdvanceTo(std::stoull(metadata["resourceVersion"].get<std::string>()) - 1);
      NPG_ASSERT_OK(model.Delete(metadata["namespace"], metadata["name"]));
    } else {
      // The bytes of the object, without parsing.
      const size_t begin = line.find(R"("object":)") + 9;
      NPG_ASSERT_OK(model.PutRecorded(line.substr(begin, line.size() - begin - 1)));
    }
    sent += watch->Next();
  }
  sent += watch->Bookmark();
  EXPECT_EQ(sent, recorded);
}

TEST(ApiModelRecorded, ExpiredWatchIsTheRecordedOneByteForByte) {
  ApiModel model;
  model.AdvanceTo(30575);
  model.Compact(30099);
  const auto watch = Watch(model, "resourceVersion=1");
  EXPECT_FALSE(watch->ended());
  EXPECT_EQ(watch->Next(), Testdata("services-watch-expired.jsonl"));
  EXPECT_TRUE(watch->ended());
  EXPECT_EQ(watch->Next(), "");
}

// The record was edited by hand: one item occurs twice, and the items are not in the order
// of their keys. A store has each item once, in order.
TEST(ApiModelRecorded, ListIsTheRecordedOne) {
  json recorded = json::parse(Testdata("services-list.json"));
  std::map<std::string, json> by_key;
  std::map<uint64_t, std::string> by_version;
  for (const json& item : recorded["items"]) {
    const json& metadata = item["metadata"];
    by_key[metadata["namespace"].get<std::string>() + "/" + metadata["name"].get<std::string>()] =
        item;
    by_version[std::stoull(metadata["resourceVersion"].get<std::string>())] = item.dump(1);
  }
  recorded["items"].clear();
  for (const auto& [key, item] : by_key) recorded["items"].push_back(item);

  ApiModel model;
  for (const auto& [version, item] : by_version) NPG_ASSERT_OK(model.PutRecorded(item));
  model.AdvanceTo(30363);
  EXPECT_EQ(List(model, ""), recorded);
}

TEST(ApiModelChanges, ObjectsAreStampedAndOtherwiseKept) {
  ApiModel model;
  const uint64_t first = model.Put(NodePort("a", 30001));
  EXPECT_EQ(first, 2U);
  const json created = List(model, "")["items"][0];
  EXPECT_EQ(created["metadata"]["resourceVersion"], "2");
  EXPECT_EQ(created["spec"]["ports"][0]["nodePort"], 30001);
  EXPECT_FALSE(created.contains("kind"));

  model.Put(NodePort("a", 30002));
  const json modified = List(model, "")["items"][0];
  EXPECT_EQ(modified["metadata"]["resourceVersion"], "3");
  EXPECT_EQ(modified["metadata"]["uid"], created["metadata"]["uid"]);

  NPG_ASSERT_OK(model.Delete("default", "a"));
  EXPECT_EQ(model.Delete("default", "a").status().code(), absl::StatusCode::kNotFound);
  model.Put(NodePort("a", 30003));
  EXPECT_NE(List(model, "")["items"][0]["metadata"]["uid"], created["metadata"]["uid"]);
}

TEST(ApiModelChanges, GarbageIsKeptAsItIs) {
  const std::string big =
      absl::StrCat(R"("annotations":{"big":")", std::string(5 << 20, 'x'), "\"}");
  ApiModel model;
  model.Put({.name = "ports",
             .ports = {{.node_port = -1},
                       {.node_port = 70000},
                       {.protocol = "QUIC"},
                       {.extra = R"("nodePort":"x")"},
                       {.extra = R"("nodePort":0)"}}});
  model.Put({.name = "big", .extra_metadata = big});
  NPG_ASSERT_OK(
      model.PutJson("{\"spec\": [1, \"}\\\"\"],\n \"kind\": \"Service\",\n"
                    " \"metadata\" : {\"namespace\": \"b\", \"name\": \"odd\"} }"));
  NPG_ASSERT_OK(model.PutJson(R"({"metadata":{"name":"nospec","namespace":"b"}})"));
  model.PutVerbatim("c", "broken", R"({"metadata":)");

  const auto services = model.Services();
  ASSERT_EQ(services.size(), 5U);
  const json ports = json::parse(services.at("default/ports"))["spec"]["ports"];
  EXPECT_EQ(ports[0]["nodePort"], -1);
  EXPECT_EQ(ports[1]["nodePort"], 70000);
  EXPECT_EQ(ports[2]["protocol"], "QUIC");
  EXPECT_EQ(ports[3]["nodePort"], "x");
  EXPECT_EQ(ports[4]["nodePort"], 0);
  EXPECT_GT(services.at("default/big").size(), 5U << 20);
  EXPECT_EQ(json::parse(services.at("b/odd")),
            json::parse(R"({"spec":[1,"}\""],"metadata":{"namespace":"b","name":"odd",)"
                        R"("resourceVersion":"4"}})"));
  EXPECT_EQ(services.at("c/broken"), R"({"metadata":)");
  // The same as events: a line each, one of them invalid JSON.
  const std::string lines = Watch(model, "resourceVersion=1")->Next();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 5);
  EXPECT_THAT(lines, HasSubstr("{\"type\":\"ADDED\",\"object\":{\"metadata\":}\n"));
}

TEST(ApiModelChanges, RefusesObjectsWithoutAKey) {
  ApiModel model;
  for (const char* text : {"", "[]", "{", R"({"metadata":{"name":"a"}})", R"({"a":1)", R"({"a" 1})",
                           R"({"metadata":{"name":"a","namespace":"b"})", "{\"a\":\"\\\"}"}) {
    EXPECT_EQ(model.PutJson(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  NPG_ASSERT_OK(
      model.PutRecorded(R"({"metadata":{"name":"a","namespace":"b","resourceVersion":"9"}})"));
  EXPECT_EQ(model.PutRecorded(R"({"metadata":{"name":"a","namespace":"b","resourceVersion":"9"}})")
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ApiTarget, IsDecoded) {
  const ApiTarget target = ParseTarget("/a%20b?x=1&y=a%3Db+c&x=2&flag&z=%zz&=&q=%");
  EXPECT_EQ(target.path, "/a%20b");
  EXPECT_EQ(QueryValue(target.query, "x"), "1");
  EXPECT_EQ(QueryValue(target.query, "y"), "a=b c");
  EXPECT_EQ(QueryValue(target.query, "z"), "%zz");
  EXPECT_EQ(QueryValue(target.query, "q"), "%");
  EXPECT_EQ(target.query.count("flag"), 1U);
  EXPECT_TRUE(QueryFlag(target.query, "x"));
  EXPECT_FALSE(QueryFlag(target.query, "flag"));
  EXPECT_TRUE(ParseTarget("/p").query.empty());
}

}  // namespace
}  // namespace npg::testing::api_model_test
