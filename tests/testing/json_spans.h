// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_JSON_SPANS_H_
#define NODEPORT_GUARD_TESTS_TESTING_JSON_SPANS_H_

#include <optional>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::testing {

// The bytes of a member of a JSON object.
struct JsonMember {
  absl::string_view key;    // without quotes, escapes as they are
  absl::string_view value;  // without white space around it
  absl::string_view whole;  // from the key's quote to the end of the value
};

// The members of `object`; nothing if it is no JSON object. Values are skipped, so
// errors inside of them are not noticed.
std::optional<std::vector<JsonMember>> JsonMembers(absl::string_view object);

// The value of the first member `key` of `object`; empty if there is none.
absl::string_view JsonValue(absl::string_view object, absl::string_view key);

// A JSON string without its quotes, escapes as they are; empty if `value` is no
// string.
absl::string_view JsonString(absl::string_view value);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_JSON_SPANS_H_
