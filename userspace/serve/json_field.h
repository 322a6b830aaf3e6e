// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_JSON_FIELD_H_
#define NODEPORT_GUARD_SERVE_JSON_FIELD_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/time/time.h"

namespace npg::serve {

// The value behind `name` of an object; null when there is none. `name` is a
// key, not a path.
const nlohmann::ordered_json& Field(const nlohmann::ordered_json& json, const char* name);

// nullopt when it is something else.
std::optional<double> NumberIn(const nlohmann::ordered_json& json);
std::optional<absl::Time> TimeIn(const nlohmann::ordered_json& json);  // RFC 3339

// Empty, or false, when it is something else.
std::string TextIn(const nlohmann::ordered_json& json);
bool IsTrue(const nlohmann::ordered_json& json);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_JSON_FIELD_H_
