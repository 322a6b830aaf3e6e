// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/json_value.h"

#include <simdjson.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "core/port.h"
#include "core/service_name.h"

namespace npg::kubernetes {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

std::string Quote(absl::string_view text) {
  return absl::StrCat("\"", core::Printable(text), "\"");
}

// A scalar as it is written.
absl::string_view Token(simdjson::ondemand::value value) {
  return absl::StripAsciiWhitespace(View(value.raw_json_token()));
}

}  // namespace

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
  return View(text);
}

std::string Describe(simdjson::dom::element value) {
  switch (value.type()) {
    case simdjson::dom::element_type::ARRAY:
      return "a list";
    case simdjson::dom::element_type::OBJECT:
      return "an object";
    case simdjson::dom::element_type::STRING:
      return Quote(View(value.get_string().value_unsafe()));
    default:
      return simdjson::minify(value);
  }
}

absl::StatusOr<uint16_t> PortNumber(simdjson::dom::element value) {
  if (value.is_number()) return ParsePortNumber(Describe(value));
  return absl::InvalidArgumentError(absl::StrCat(Describe(value), " is not a number"));
}

absl::Status JsonError(simdjson::error_code error) {
  return absl::InvalidArgumentError(
      absl::StrCat("not valid JSON: ", simdjson::error_message(error)));
}

absl::Status WalkObject(simdjson::ondemand::value value,
                        std::initializer_list<MemberReader> readers) {
  if (!IsObject(value)) return absl::OkStatus();
  simdjson::ondemand::object object;
  if (const auto error = value.get_object().get(object); error) return JsonError(error);
  uint32_t seen = 0;  // a bit for each of readers
  for (simdjson::simdjson_result<simdjson::ondemand::field> member : object) {
    std::string_view key;
    if (const auto error = member.unescaped_key().get(key); error) return JsonError(error);
    uint32_t bit = 1;
    for (const MemberReader& reader : readers) {
      if (reader.key == View(key) && (seen & bit) == 0) {
        seen |= bit;
        simdjson::ondemand::value found = member.value_unsafe().value();
        bool is_null = false;
        if (const auto error = found.is_null().get(is_null); error) return JsonError(error);
        if (!is_null) NPG_RETURN_IF_ERROR(reader.read(found));
        break;
      }
      bit <<= 1U;
    }
  }
  return absl::OkStatus();
}

bool IsObject(simdjson::ondemand::value value) {
  simdjson::ondemand::json_type type{};
  return value.type().get(type) == simdjson::SUCCESS &&
         type == simdjson::ondemand::json_type::object;
}

absl::Status ReadText(simdjson::ondemand::value value, absl::string_view& text) {
  std::string_view found;
  const auto error = value.get_string().get(found);
  if (error == simdjson::INCORRECT_TYPE) return absl::OkStatus();
  if (error != simdjson::SUCCESS) return JsonError(error);
  text = View(found);
  return absl::OkStatus();
}

absl::StatusOr<std::string> Describe(simdjson::ondemand::value value) {
  simdjson::ondemand::json_type type{};
  if (const auto error = value.type().get(type); error) return JsonError(error);
  switch (type) {
    case simdjson::ondemand::json_type::array:
      return "a list";
    case simdjson::ondemand::json_type::object:
      return "an object";
    case simdjson::ondemand::json_type::string: {
      absl::string_view text;
      NPG_RETURN_IF_ERROR(ReadText(value, text));
      return Quote(text);
    }
    default:
      return core::Printable(Token(value));
  }
}

absl::string_view NumberText(simdjson::ondemand::value value) {
  simdjson::ondemand::json_type type{};
  if (value.type().get(type) != simdjson::SUCCESS ||
      type != simdjson::ondemand::json_type::number) {
    return "";
  }
  return Token(value);
}

absl::StatusOr<uint16_t> ParsePortNumber(absl::string_view number) {
  if (number.find_first_not_of("-0123456789") != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(core::Printable(number), " is not a port number"));
  }
  absl::StatusOr<uint16_t> port = core::ParsePort(number);
  if (port.ok()) return port;
  return absl::InvalidArgumentError(absl::StrCat(core::Printable(number), " is outside 1-65535"));
}

}  // namespace npg::kubernetes
