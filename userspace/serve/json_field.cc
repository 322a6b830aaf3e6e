// SPDX-License-Identifier: Apache-2.0
#include "serve/json_field.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace npg::serve {

const nlohmann::ordered_json& Field(const nlohmann::ordered_json& json, const char* name) {
  static const auto* const kNull = new nlohmann::ordered_json(nullptr);
  if (!json.is_object()) return *kNull;
  const auto found = json.find(name);
  return found == json.end() ? *kNull : *found;
}

std::optional<double> NumberIn(const nlohmann::ordered_json& json) {
  if (!json.is_number()) return std::nullopt;
  return json.get<double>();
}

std::optional<absl::Time> TimeIn(const nlohmann::ordered_json& json) {
  absl::Time time;
  if (!json.is_string() || !absl::ParseTime(absl::RFC3339_full, TextIn(json), &time, nullptr)) {
    return std::nullopt;
  }
  return time;
}

std::string TextIn(const nlohmann::ordered_json& json) {
  return json.is_string() ? json.get<std::string>() : "";
}

bool IsTrue(const nlohmann::ordered_json& json) { return json.is_boolean() && json.get<bool>(); }

}  // namespace npg::serve
