// SPDX-License-Identifier: Apache-2.0
#include "sources/json_value.h"

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "sources/service_name.h"

namespace npg::sources {

std::optional<simdjson::dom::element> Member(simdjson::dom::object object, absl::string_view key) {
  simdjson::dom::element value;
  if (object.at_key(std::string_view(key.data(), key.size())).get(value) != simdjson::SUCCESS ||
      value.is_null()) {
    return std::nullopt;
  }
  return value;
}

absl::string_view StringMember(simdjson::dom::object object, absl::string_view key) {
  const std::optional<simdjson::dom::element> value = Member(object, key);
  std::string_view text;
  if (!value || value->get(text) != simdjson::SUCCESS) return "";
  return {text.data(), text.size()};
}

std::string Describe(simdjson::dom::element value) {
  std::string_view text;
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY:
      return "a list";
    case simdjson::dom::element_type::OBJECT:
      return "an object";
    case simdjson::dom::element_type::STRING:
      text = value.get_string().value_unsafe();
      return absl::StrCat("\"", Printable({text.data(), text.size()}), "\"");
    default:
      return simdjson::minify(value);
  }
}

absl::StatusOr<uint16_t> PortNumber(simdjson::dom::element value) {
  if (!value.is_number()) {
    return absl::InvalidArgumentError(absl::StrCat(Describe(value), " is not a number"));
  }
  int64_t port = 0;
  if (value.type() == simdjson::dom::element_type::DOUBLE) {
    return absl::InvalidArgumentError(absl::StrCat(Describe(value), " is not a port number"));
  }
  if (value.get(port) != simdjson::SUCCESS || port < 1 || port > UINT16_MAX) {
    return absl::InvalidArgumentError(absl::StrCat(Describe(value), " is outside 1-65535"));
  }
  return static_cast<uint16_t>(port);
}

}  // namespace npg::sources
