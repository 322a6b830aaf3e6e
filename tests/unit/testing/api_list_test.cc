// SPDX-License-Identifier: Apache-2.0
//
// LIST of ApiModel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "testing/api_model.h"
#include "testing/status_asserts.h"
#include "unit/testing/api_model_test.h"

namespace npg::testing::api_list_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(ApiModelList, Filters) {
  ApiModel model;
  model.Put(ClusterIp("a"));
  model.Put(NodePort("b", 30001));
  model.Put({.name = "c", .type = "LoadBalancer", .health_check_node_port = 30456});
  EXPECT_THAT(Names(List(model, kNotClusterIp)), ElementsAre("b", "c"));
  EXPECT_THAT(Names(List(model, "fieldSelector=spec.type==NodePort")), ElementsAre("b"));
  EXPECT_THAT(Names(List(model, "")), ElementsAre("a", "b", "c"));
  EXPECT_EQ(List(model, "")["items"][2]["spec"]["healthCheckNodePort"], 30456);
  for (const char* bad : {"fieldSelector=spec.colour=red", "fieldSelector=spec.type",
                          "fieldSelector=spec.type!%3DClusterIP,metadata.name=a"}) {
    EXPECT_EQ(List(model, bad, 400)["reason"], "BadRequest");
  }
  model.options().selects_by_type = false;
  EXPECT_THAT(List(model, kNotClusterIp, 400)["message"],
              HasSubstr("is not a known field selector"));
}

TEST(ApiModelList, EmptyHasItems) {
  EXPECT_EQ(List(ApiModel(), ""), json::parse(R"({"kind":"ServiceList","apiVersion":"v1",)"
                                              R"("metadata":{"resourceVersion":"1"},"items":[]})"));
}

TEST(ApiModelList, PagesShowOneVersion) {
  ApiModel model;
  for (const char* name : {"a", "b", "c", "d", "e"}) model.Put(NodePort(name, 30001));  // to 6
  json page = List(model, "limit=2");
  EXPECT_THAT(Names(page), ElementsAre("a", "b"));
  EXPECT_EQ(page["metadata"]["remainingItemCount"], 3);
  const std::string second =
      absl::StrCat("limit=2&continue=", page["metadata"]["continue"].get<std::string>());
  model.Put(NodePort("c", 30009));
  NPG_ASSERT_OK(model.Delete("default", "d"));
  model.Put(NodePort("ca", 30001));
  page = List(model, second);
  EXPECT_THAT(Names(page), ElementsAre("c", "d"));
  EXPECT_EQ(page["metadata"]["resourceVersion"], "6");
  EXPECT_EQ(page["items"][0]["spec"]["ports"][0]["nodePort"], 30001);
  page = List(model, absl::StrCat("continue=", page["metadata"]["continue"].get<std::string>()));
  EXPECT_THAT(Names(page), ElementsAre("e"));
  EXPECT_FALSE(page["metadata"].contains("continue"));

  // After compaction the rest is available, but of another version.
  model.Compact(7);
  page = List(model, second, 410);
  EXPECT_EQ(page["reason"], "Expired");
  page = List(model, absl::StrCat("continue=", page["metadata"]["continue"].get<std::string>()));
  EXPECT_THAT(Names(page), ElementsAre("c", "ca", "e"));
  EXPECT_EQ(page["metadata"]["resourceVersion"], "9");
}

TEST(ApiModelList, FilteredPages) {
  ApiModel model;
  model.Put(NodePort("a", 30001));
  model.Put(ClusterIp("b"));
  model.Put(NodePort("c", 30002));
  model.Put(ClusterIp("d"));
  json page = List(model, absl::StrCat("limit=2&", kNotClusterIp));
  EXPECT_THAT(Names(page), ElementsAre("a", "c"));
  EXPECT_FALSE(page["metadata"].contains("remainingItemCount"));
  page =
      List(model, absl::StrCat("limit=2&continue=", page["metadata"]["continue"].get<std::string>(),
                               "&", kNotClusterIp));
  EXPECT_THAT(Names(page), IsEmpty());
  EXPECT_FALSE(page["metadata"].contains("continue"));
}

TEST(ApiModelList, Versions) {
  ApiModel model;
  model.Put(NodePort("a", 30001));  // 2
  model.Put(NodePort("b", 30002));  // 3
  model.Put(NodePort("c", 30003));  // 4
  struct Case {
    std::string parameters;
    std::vector<std::string> names;
  };
  const std::vector<Case> cases = {
      {"resourceVersion=2", {"a", "b", "c"}},
      {"resourceVersion=2&resourceVersionMatch=NotOlderThan&limit=2", {"a", "b"}},
      {"resourceVersion=3&resourceVersionMatch=Exact", {"a", "b"}},
      {"resourceVersion=2&limit=5", {"a"}},
      {"resourceVersion=0&limit=2", {"a", "b"}},
      {"resourceVersion=0&resourceVersionMatch=NotOlderThan", {"a", "b", "c"}},
  };
  for (const Case& c : cases) EXPECT_EQ(Names(List(model, c.parameters)), c.names) << c.parameters;
  model.options().limit_ignored_at_zero = true;
  EXPECT_THAT(Names(List(model, "resourceVersion=0&limit=2")), ElementsAre("a", "b", "c"));
  EXPECT_THAT(Names(List(model, "limit=2")), ElementsAre("a", "b"));

  const json future = List(model, "resourceVersion=9&resourceVersionMatch=NotOlderThan", 504);
  EXPECT_EQ(future["message"], "Timeout: Too large resource version: 9, current: 4");
  EXPECT_EQ(future["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
  model.Compact(4);
  EXPECT_EQ(List(model, "resourceVersion=3&resourceVersionMatch=Exact", 410)["reason"], "Expired");
}

TEST(ApiModelList, BadParameters) {
  struct Case {
    std::string parameters;
    int code;
  };
  const std::vector<Case> cases = {
      {"resourceVersion=abc", 400},
      {"limit=many", 400},
      {"limit=-1", 400},
      {"continue=%25%25", 400},
      {"continue=YWJj", 400},
      {"resourceVersionMatch=NotOlderThan", 422},
      {"resourceVersion=0&resourceVersionMatch=Exact", 422},
      {"resourceVersion=1&resourceVersionMatch=Roughly", 422},
      {"sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 422},
  };
  const ApiModel model;
  for (const Case& c : cases) EXPECT_EQ(List(model, c.parameters, c.code)["code"], c.code);
}

}  // namespace
}  // namespace npg::testing::api_list_test
