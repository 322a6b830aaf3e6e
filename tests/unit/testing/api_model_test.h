// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_TESTING_API_MODEL_TEST_H_
#define NODEPORT_GUARD_TESTS_UNIT_TESTING_API_MODEL_TEST_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "testing/api_model.h"
#include "testing/api_object.h"
#include "testing/api_query.h"
#include "testing/api_status.h"
#include "testing/paths.h"

namespace npg::testing {

using ::nlohmann::json;

inline constexpr absl::string_view kNotClusterIp = "fieldSelector=spec.type!%3DClusterIP";

inline std::string Testdata(const std::string& name) {
  const std::ifstream file(TestdataPath(name), std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline ApiQuery Query(absl::string_view parameters) {
  return ParseTarget(absl::StrCat("/api/v1/services?", parameters)).query;
}

inline std::unique_ptr<WatchCursor> Watch(const ApiModel& model, absl::string_view parameters) {
  auto answer = model.Watch(Query(absl::StrCat("watch=1&", parameters)));
  EXPECT_NE(answer.cursor, nullptr) << parameters << ": " << answer.refusal.body;
  return std::move(answer.cursor);
}

inline json List(const ApiModel& model, absl::string_view parameters, int code = 200) {
  const ApiAnswer answer = model.List(Query(parameters));
  EXPECT_EQ(answer.code, code) << parameters << ": " << answer.body;
  return json::parse(answer.body);
}

// The lines as "TYPE name@resourceVersion", of a Status "ERROR code".
inline std::vector<std::string> Summary(const std::string& lines) {
  std::vector<std::string> result;
  EXPECT_TRUE(lines.empty() || lines.back() == '\n') << lines;
  for (const absl::string_view line : absl::StrSplit(lines, '\n', absl::SkipEmpty())) {
    const json event = json::parse(line);
    const json& object = event["object"];
    const std::string type = event["type"];
    if (type == "ERROR") {
      result.push_back(absl::StrCat(type, " ", object["code"].get<int>()));
      continue;
    }
    const json& metadata = object["metadata"];
    const bool end = metadata.contains("annotations") &&
                     metadata["annotations"].contains("k8s.io/initial-events-end");
    result.push_back(absl::StrCat(type, " ", metadata.value("name", end ? "end" : ""), "@",
                                  metadata["resourceVersion"].get<std::string>()));
  }
  return result;
}

inline std::vector<std::string> Names(const json& list) {
  std::vector<std::string> names;
  for (const json& item : list["items"]) names.push_back(item["metadata"]["name"]);
  return names;
}

inline ServiceSpec NodePort(const std::string& name, int64_t port) {
  return {.name = name, .ports = {{.name = "http", .node_port = port}}};
}

inline ServiceSpec ClusterIp(const std::string& name) {
  return {.name = name, .type = "ClusterIP", .ports = {{.name = "http"}}};
}

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_UNIT_TESTING_API_MODEL_TEST_H_
