// SPDX-License-Identifier: Apache-2.0
//
// WATCH of ApiModel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "testing/api_model.h"
#include "testing/status_asserts.h"
#include "unit/testing/api_model_test.h"

namespace npg::testing::api_watch_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ApiModelWatch, FromAVersion) {
  ApiModel model;
  model.Put(NodePort("a", 30001));  // 2
  model.Put(NodePort("b", 30002));  // 3
  const auto watch = Watch(model, "resourceVersion=2");
  EXPECT_THAT(Summary(watch->Next()), ElementsAre("ADDED b@3"));
  EXPECT_THAT(Summary(watch->Next()), IsEmpty());
  model.Put(NodePort("a", 30003));
  NPG_ASSERT_OK(model.Delete("default", "b"));
  EXPECT_THAT(Summary(watch->Next()), ElementsAre("MODIFIED a@4", "DELETED b@5"));
  EXPECT_EQ(watch->Bookmark(), "") << "not asked for";
}

TEST(ApiModelWatch, WithoutAVersionBeginsWithTheState) {
  for (const char* parameters : {"", "resourceVersion=0"}) {
    ApiModel model;
    model.Put(NodePort("b", 30001));
    model.Put(ClusterIp("a"));
    const auto watch = Watch(model, parameters);
    model.Put(NodePort("c", 30002));
    EXPECT_THAT(Summary(watch->Next()), ElementsAre("ADDED a@3", "ADDED b@2", "ADDED c@4"));
  }
}

TEST(ApiModelWatch, FilteredReportsObjectsThatEnterAndLeave) {
  ApiModel model;
  model.Put(ClusterIp("a"));        // 2
  model.Put(NodePort("b", 30001));  // 3
  const auto all = Watch(model, "resourceVersion=3");
  const auto some = Watch(model, absl::StrCat("resourceVersion=3&", kNotClusterIp));
  const auto others = Watch(model, "resourceVersion=3&fieldSelector=spec.type=ClusterIP");
  model.Put(NodePort("a", 30002));              // 4
  model.Put(ClusterIp("b"));                    // 5
  model.Put(ClusterIp("b"));                    // 6
  NPG_ASSERT_OK(model.Delete("default", "b"));  // 7
  model.Put(NodePort("a", 30003));              // 8
  NPG_ASSERT_OK(model.Delete("default", "a"));  // 9
  EXPECT_THAT(Summary(all->Next()), ElementsAre("MODIFIED a@4", "MODIFIED b@5", "MODIFIED b@6",
                                                "DELETED b@7", "MODIFIED a@8", "DELETED a@9"));
  const std::string lines = some->Next();
  EXPECT_THAT(Summary(lines),
              ElementsAre("ADDED a@4", "DELETED b@5", "MODIFIED a@8", "DELETED a@9"));
  EXPECT_THAT(Summary(others->Next()),
              ElementsAre("DELETED a@4", "ADDED b@5", "MODIFIED b@6", "DELETED b@7"));
  // The event has the old object, which is still a NodePort.
  const std::vector<std::string> split = absl::StrSplit(lines, '\n');
  EXPECT_EQ(json::parse(split[1])["object"]["spec"]["ports"][0]["nodePort"], 30001);
}

TEST(ApiModelWatch, InitialEvents) {
  const std::string list =
      absl::StrCat("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&", kNotClusterIp);
  ApiModel model;
  model.Put(NodePort("b", 30001));
  model.Put(ClusterIp("a"));
  const auto watch = Watch(model, absl::StrCat(list, "&allowWatchBookmarks=true"));
  model.Put(NodePort("c", 30002));
  EXPECT_EQ(watch->Bookmark(), "") << "not before the initial one";
  EXPECT_THAT(Summary(watch->Next()), ElementsAre("ADDED b@2", "BOOKMARK end@3", "ADDED c@4"));
  EXPECT_THAT(Summary(watch->Bookmark()), ElementsAre("BOOKMARK @4"));

  // Without bookmarks no event marks the end of the list.
  EXPECT_THAT(Summary(Watch(model, list)->Next()), ElementsAre("ADDED b@2", "ADDED c@4"));

  // The bookmark waits until the model reaches the requested version.
  const auto future =
      Watch(model, absl::StrCat(list, "&allowWatchBookmarks=true&resourceVersion=6"));
  EXPECT_THAT(Summary(future->Next()), ElementsAre("ADDED b@2", "ADDED c@4"));
  model.Put(NodePort("d", 30003));
  EXPECT_THAT(Summary(future->Next()), ElementsAre("ADDED d@5"));
  model.Put(NodePort("e", 30004));
  model.Put(NodePort("f", 30005));
  EXPECT_THAT(Summary(future->Next()), ElementsAre("ADDED e@6", "BOOKMARK end@6", "ADDED f@7"));
}

TEST(ApiModelWatch, InitialEventsAreRefused) {
  const std::string list = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
  struct Case {
    WatchList offered;
    std::string parameters;
    int code;
    std::string says;
  };
  const std::vector<Case> cases = {
      {WatchList::kOffered, "sendInitialEvents=true", 422, "requires setting resourceVersionMatch"},
      {WatchList::kOffered, "resourceVersionMatch=NotOlderThan", 422, "forbidden for watch"},
      {WatchList::kForbidden, list, 422, "unless the WatchList feature gate is enabled"},
      {WatchList::kBadRequest, list, 400, "sendInitialEvents"},
  };
  for (const Case& c : cases) {
    const ApiModel model({.watch_list = c.offered});
    const auto answer = model.Watch(Query(c.parameters));
    EXPECT_EQ(answer.cursor, nullptr) << c.parameters;
    const json status = json::parse(answer.refusal.body);
    EXPECT_EQ(answer.refusal.code, c.code);
    EXPECT_EQ(status["code"], c.code);
    EXPECT_EQ(status["kind"], "Status");
    EXPECT_THAT(status["message"], HasSubstr(c.says));
  }
  ApiModel old({.watch_list = WatchList::kIgnored});
  old.Put(NodePort("a", 30001));
  EXPECT_THAT(Summary(Watch(old, absl::StrCat(list, "&allowWatchBookmarks=1"))->Next()),
              ElementsAre("ADDED a@2"));
}

TEST(ApiModelWatch, BookmarksNeverSkipAnEvent) {
  ApiModel model;
  model.Put(NodePort("a", 30001));
  const auto watch = Watch(model, "resourceVersion=1&allowWatchBookmarks=true");
  EXPECT_THAT(Summary(watch->Bookmark()), ElementsAre("BOOKMARK @1"));
  EXPECT_THAT(Summary(watch->Next()), ElementsAre("ADDED a@2"));
  model.AdvanceTo(10);
  EXPECT_THAT(Summary(watch->Bookmark()), ElementsAre("BOOKMARK @10"));
  model.Put(NodePort("a", 30002));
  EXPECT_THAT(Summary(watch->Bookmark()), ElementsAre("BOOKMARK @2"));
  EXPECT_THAT(Summary(watch->Next()), ElementsAre("MODIFIED a@11"));
  EXPECT_THAT(Summary(watch->Bookmark()), ElementsAre("BOOKMARK @11"));
}

TEST(ApiModelWatch, FromAFutureVersionSendsNothing) {
  ApiModel model;
  const auto watch = Watch(model, "resourceVersion=4&allowWatchBookmarks=true");
  model.Put(NodePort("a", 30001));  // 2
  EXPECT_EQ(watch->Next(), "");
  EXPECT_EQ(watch->Bookmark(), "");
  EXPECT_FALSE(watch->ended());
  model.Put(NodePort("b", 30002));  // 3
  model.Put(NodePort("c", 30003));  // 4
  model.Put(NodePort("d", 30004));  // 5
  EXPECT_THAT(Summary(watch->Next()), ElementsAre("ADDED d@5"));
  EXPECT_THAT(Summary(watch->Bookmark()), ElementsAre("BOOKMARK @5"));
}

TEST(ApiModelWatch, Expired) {
  ApiModel model;
  for (int i = 0; i < 5; ++i) model.Put(NodePort("a", 30001 + i));  // 2 to 6
  const auto open = Watch(model, "resourceVersion=2");
  model.Compact(4);
  EXPECT_THAT(Summary(open->Next()),
              ElementsAre("MODIFIED a@3", "MODIFIED a@4", "MODIFIED a@5", "MODIFIED a@6"))
      << "open watches continue";
  EXPECT_THAT(Summary(Watch(model, "resourceVersion=3")->Next()), ElementsAre("ERROR 410"));
  EXPECT_THAT(Summary(Watch(model, "resourceVersion=4")->Next()),
              ElementsAre("MODIFIED a@5", "MODIFIED a@6"));
  EXPECT_THAT(Summary(Watch(model, "")->Next()), ElementsAre("ADDED a@6"));

  model.options().expired_as_code = true;
  const auto answer = model.Watch(Query("resourceVersion=3"));
  EXPECT_EQ(answer.cursor, nullptr);
  EXPECT_EQ(answer.refusal.code, 410);
  EXPECT_EQ(json::parse(answer.refusal.body)["reason"], "Expired");
}

TEST(ApiModelWatch, BadParameters) {
  const ApiModel model;
  EXPECT_EQ(model.Watch(Query("resourceVersion=abc")).refusal.code, 400);
  EXPECT_EQ(model.Watch(Query("fieldSelector=spec.colour=red")).refusal.code, 400);
}

TEST(ApiModelRestore, StateAndCounterGoBack) {
  ApiModel model;
  model.Put(NodePort("a", 30001));  // 2
  model.Put(NodePort("b", 30002));  // 3
  const auto before = model.Services();
  model.Put(NodePort("a", 30003));              // 4
  NPG_ASSERT_OK(model.Delete("default", "b"));  // 5
  model.Put(NodePort("c", 30004));              // 6
  model.Compact(5);
  const auto watch = Watch(model, "resourceVersion=5&allowWatchBookmarks=true");
  model.RestoreTo(3);
  EXPECT_TRUE(watch->ended());
  EXPECT_EQ(watch->Next(), "");
  EXPECT_EQ(watch->Bookmark(), "");
  EXPECT_EQ(model.resource_version(), 3U);
  EXPECT_EQ(model.Services(), before);
  EXPECT_EQ(List(model, "")["metadata"]["resourceVersion"], "3");

  // A client with a later version receives nothing until the model reaches that version
  // again, with other objects.
  const auto ahead = Watch(model, "resourceVersion=6");
  model.Put(NodePort("x", 30005));  // 4 again
  EXPECT_EQ(ahead->Next(), "");
  for (int i = 0; i < 3; ++i) model.Put(NodePort("y", 30006 + i));  // 5, 6, 7
  EXPECT_THAT(Summary(ahead->Next()), ElementsAre("MODIFIED y@7"));
  EXPECT_EQ(model.Services().size(), 4U);
}

// A list and the events of a watch after it give the state, for random histories.
TEST(ApiModelHistories, ListAndWatchAddUpToTheState) {
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    ApiModel model;
    const auto change = [&model, &random] {
      const std::string name(1, static_cast<char>('a' + random() % 6));
      switch (random() % 4) {
        case 0:
          (void)model.Delete("default", name);
          break;
        case 1:
          model.Put(ClusterIp(name));
          break;
        default:
          model.Put(NodePort(name, 30000 + static_cast<int>(random() % 2768)));
      }
    };
    for (uint32_t i = random() % 8; i > 0; --i) change();
    const json list = List(model, kNotClusterIp);
    std::map<std::string, json> known;
    for (const json& item : list["items"]) known[item["metadata"]["name"]] = item;
    const uint32_t missed = random() % 8;
    for (uint32_t i = 0; i < missed; ++i) change();
    const auto watch = Watch(
        model,
        absl::StrCat("resourceVersion=", list["metadata"]["resourceVersion"].get<std::string>(),
                     "&", kNotClusterIp));
    for (uint32_t round = 0; round < 6; ++round) {
      const std::string lines = watch->Next();
      for (const absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
        json event = json::parse(line);
        json& object = event["object"];
        object.erase("kind");
        object.erase("apiVersion");
        const std::string name = object["metadata"]["name"];
        EXPECT_EQ(known.count(name), event["type"] == "ADDED" ? 0U : 1U) << "seed " << seed;
        if (event["type"] == "DELETED") {
          known.erase(name);
        } else {
          known[name] = object;
        }
      }
      std::map<std::string, json> there;
      const json now = List(model, kNotClusterIp);
      for (const json& item : now["items"]) {
        there[item["metadata"]["name"]] = item;
      }
      ASSERT_EQ(known, there) << "seed " << seed;
      for (uint32_t i = random() % 4; i > 0; --i) change();
    }
  }
}

}  // namespace
}  // namespace npg::testing::api_watch_test
