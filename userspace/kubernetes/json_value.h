// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_JSON_VALUE_H_
#define NODEPORT_GUARD_KUBERNETES_JSON_VALUE_H_

#include <simdjson.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::kubernetes {

// Short readers for simdjson with our messages. For the DOM, which has the whole
// document:

// The member `key` of `object`; nothing when it is absent or null.
std::optional<simdjson::dom::element> Member(simdjson::dom::object object, absl::string_view key);

// The member's text; empty when it is absent or no string. Lives as long as
// the parser's document.
absl::string_view StringMember(simdjson::dom::object object, absl::string_view key);

// The value for a message: `70000`, `"http"`, `a list`.
std::string Describe(simdjson::dom::element value);

// A JSON number as a port, 1 to 65535. INVALID_ARGUMENT describes another value:
// `70000 is outside 1-65535`, `"x" is not a number`.
absl::StatusOr<uint16_t> PortNumber(simdjson::dom::element value);

// For on-demand parsing, which walks the text once. An error below means that the text is
// not JSON, and ends the walk.

// INVALID_ARGUMENT: "not valid JSON: ...".
absl::Status JsonError(simdjson::error_code error);

// WalkObject() calls it for a member.
struct MemberReader {
  absl::string_view key;
  absl::FunctionRef<absl::Status(simdjson::ondemand::value)> read;
};

// Walks the members of `value` in order, and passes each to the reader (of at most 32)
// with its name. null counts as absent, and the first of repeated members counts. Does
// nothing when `value` is no object.
absl::Status WalkObject(simdjson::ondemand::value value,
                        std::initializer_list<MemberReader> readers);

bool IsObject(simdjson::ondemand::value value);

// Sets `text` to the value's text; keeps it when the value is no string.
// Lives as long as the parser's document.
absl::Status ReadText(simdjson::ondemand::value value, absl::string_view& text);

absl::StatusOr<std::string> Describe(simdjson::ondemand::value value);

// The number as written; empty when the value is no number.
absl::string_view NumberText(simdjson::ondemand::value value);

// As PortNumber(), for a number as written.
absl::StatusOr<uint16_t> ParsePortNumber(absl::string_view number);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_JSON_VALUE_H_
