// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_LOG_FIELDS_H_
#define NODEPORT_GUARD_LOG_FIELDS_H_

#include <concepts>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::log {

// The parts of a log line that machines look for, by name, in the order they were
// added. Names are the program's own; values may be anything that a process or a
// cluster calls itself, and stay on one line.
class Fields {
 public:
  Fields& Add(absl::string_view name, absl::string_view value);
  template <std::integral T>
  Fields& Add(absl::string_view name, T value) {
    if constexpr (std::is_same_v<T, bool>) return AddPlain(name, value ? "true" : "false");
    return AddPlain(name, absl::StrCat(value));
  }

  // " port=33589 comm=\"a b\"": what ends a line of text.
  const std::string& text() const { return text_; }
  // ",\"port\":33589,\"comm\":\"a b\"": what follows in a JSON object.
  const std::string& json() const { return json_; }

 private:
  Fields& AddPlain(absl::string_view name, absl::string_view value);

  std::string text_;
  std::string json_;
};

// `text` as a JSON string of ASCII with its quotes; what is not UTF-8 is replaced.
std::string JsonString(absl::string_view text);

// `text` without what ends a line or what a terminal would obey: escaped. Not for
// values, whose quotes are escaped, too.
std::string OneLineText(absl::string_view text);

}  // namespace npg::log

#endif  // NODEPORT_GUARD_LOG_FIELDS_H_
