// SPDX-License-Identifier: Apache-2.0
#include "kubernetes/api_status.h"

#include <simdjson.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "core/service_name.h"
#include "kubernetes/json_value.h"

namespace npg::kubernetes {
namespace {

// A Status is short, and parsing takes several times its size.
constexpr size_t kMaxBody = size_t{1} << 20;

constexpr size_t kMaxReason = 64;
constexpr size_t kMaxMessage = 300;

// At most `limit` bytes of `text`, as one printable line.
std::string Line(absl::string_view text, size_t limit) {
  if (text.size() <= limit) return core::OneLine(std::string(text));
  return core::OneLine(std::string(text.substr(0, limit - 3))) + "...";
}

// A member that is a non-negative int32.
std::optional<int> NonNegative(simdjson::dom::object object, absl::string_view key) {
  const std::optional<simdjson::dom::element> member = Member(object, key);
  int64_t number = 0;
  if (!member || member->get(number) != simdjson::SUCCESS || number < 0 || number > INT32_MAX) {
    return std::nullopt;
  }
  return static_cast<int>(number);
}

bool HasCause(simdjson::dom::object details, absl::string_view reason) {
  simdjson::dom::array causes;
  if (details.at_key("causes").get(causes) != simdjson::SUCCESS) return false;
  for (const simdjson::dom::element cause : causes) {
    simdjson::dom::object object;
    if (cause.get(object) == simdjson::SUCCESS && StringMember(object, "reason") == reason) {
      return true;
    }
  }
  return false;
}

}  // namespace

ApiStatus DecodeStatus(absl::string_view body) {
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (body.size() > kMaxBody ||
      parser.parse(body.data(), body.size()).get(object) != simdjson::SUCCESS ||
      StringMember(object, "kind") != "Status") {
    return {};
  }
  ApiStatus status;
  status.code = NonNegative(object, "code").value_or(0);
  status.reason = Line(StringMember(object, "reason"), kMaxReason);
  status.message = Line(StringMember(object, "message"), kMaxMessage);
  simdjson::dom::object details;
  if (object.at_key("details").get(details) == simdjson::SUCCESS) {
    status.retry_after_seconds = NonNegative(details, "retryAfterSeconds");
    status.version_too_large = HasCause(details, "ResourceVersionTooLarge");
  }
  return status;
}

}  // namespace npg::kubernetes
