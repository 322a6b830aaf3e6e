// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_LOG_FIELDS_H_
#define NODEPORT_GUARD_LOG_FIELDS_H_

#include <concepts>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::log {

// The machine-readable fields of a log line, in the order they were added. Names are
// constants of the program; values may be any text of a process or a cluster, and stay on
// one line.
class Fields {
 public:
  Fields& Add(absl::string_view name, absl::string_view value);
  template <std::integral T>
  Fields& Add(absl::string_view name, T value) {
    if constexpr (std::is_same_v<T, bool>) return AddPlain(name, value ? "true" : "false");
    return AddPlain(name, absl::StrCat(value));
  }

  // " port=33589 comm=\"a b\"": the end of a line of text.
  const std::string& text() const { return text_; }
  // ",\"port\":33589,\"comm\":\"a b\"": further members of a JSON object.
  const std::string& json() const { return json_; }

 private:
  Fields& AddPlain(absl::string_view name, absl::string_view value);

  std::string text_;
  std::string json_;
};

// `text` as a JSON string of ASCII with its quotes; replaces invalid UTF-8.
std::string JsonString(absl::string_view text);

// `text` with line ends and terminal control characters escaped. Not for values, whose
// quotes are escaped, too.
std::string OneLineText(absl::string_view text);

}  // namespace npg::log

#endif  // NODEPORT_GUARD_LOG_FIELDS_H_
