// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_JSON_VALUE_H_
#define NODEPORT_GUARD_SOURCES_JSON_VALUE_H_

#include <simdjson.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::sources {

// Short readers for the DOM of simdjson, in the words of our messages.

// The member `key` of `object`; nothing when it is absent or null.
std::optional<simdjson::dom::element> Member(simdjson::dom::object object, absl::string_view key);

// The member's text; empty when it is absent or no string. Lives as long as
// the parser's document.
absl::string_view StringMember(simdjson::dom::object object, absl::string_view key);

// The value as it may stand in a message: `70000`, `"http"`, `a list`.
std::string Describe(simdjson::dom::element value);

// A JSON number as a port, 1 to 65535. INVALID_ARGUMENT says what it is
// instead: `70000 is outside 1-65535`, `"x" is not a number`.
absl::StatusOr<uint16_t> PortNumber(simdjson::dom::element value);

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_JSON_VALUE_H_
