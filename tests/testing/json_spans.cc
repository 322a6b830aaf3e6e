// SPDX-License-Identifier: Apache-2.0
#include "testing/json_spans.h"

#include <cstddef>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"

namespace npg::testing {
namespace {

constexpr size_t kNone = absl::string_view::npos;
constexpr absl::string_view kSpace = " \t\r\n";

size_t SkipSpace(absl::string_view text, size_t at) {
  const size_t end = text.find_first_not_of(kSpace, at);
  return end == kNone ? text.size() : end;
}

// `at` is the opening quote; returns the position after the closing one. Strings can
// have megabytes: find() is much faster than a loop over the bytes.
size_t SkipString(absl::string_view text, size_t at) {
  for (++at;;) {
    const size_t quote = text.find('"', at);
    if (quote == kNone) return kNone;
    size_t backslashes = 0;
    while (quote - backslashes > at && text[quote - backslashes - 1] == '\\') ++backslashes;
    at = quote + 1;
    if (backslashes % 2 == 0) return at;
  }
}

size_t SkipNested(absl::string_view text, size_t at) {
  for (int depth = 0; at < text.size();) {
    at = text.find_first_of("\"{}[]", at);
    if (at == kNone) return kNone;
    if (text[at] == '"') {
      at = SkipString(text, at);
      if (at == kNone) return kNone;
      continue;
    }
    depth += text[at] == '{' || text[at] == '[' ? 1 : -1;
    ++at;
    if (depth == 0) return at;
  }
  return kNone;
}

size_t SkipValue(absl::string_view text, size_t at) {
  if (at >= text.size()) return kNone;
  if (text[at] == '"') return SkipString(text, at);
  if (text[at] == '{' || text[at] == '[') return SkipNested(text, at);
  const size_t end = text.find_first_of(" \t\r\n,}]", at);
  return end == at ? kNone : end;
}

// Reads the member that begins at `at`; nothing if there is none.
std::optional<JsonMember> MemberAt(absl::string_view object, size_t at) {
  if (at >= object.size() || object[at] != '"') return std::nullopt;
  const size_t key_end = SkipString(object, at);
  if (key_end == kNone) return std::nullopt;
  const size_t colon = SkipSpace(object, key_end);
  if (colon >= object.size() || object[colon] != ':') return std::nullopt;
  const size_t value = SkipSpace(object, colon + 1);
  const size_t end = SkipValue(object, value);
  if (end == kNone) return std::nullopt;
  return JsonMember{object.substr(at + 1, key_end - at - 2), object.substr(value, end - value),
                    object.substr(at, end - at)};
}

}  // namespace

std::optional<std::vector<JsonMember>> JsonMembers(absl::string_view object) {
  std::vector<JsonMember> members;
  size_t at = SkipSpace(object, 0);
  if (at >= object.size() || object[at] != '{') return std::nullopt;
  at = SkipSpace(object, at + 1);
  if (at < object.size() && object[at] == '}') return members;
  while (const std::optional<JsonMember> member = MemberAt(object, at)) {
    members.push_back(*member);
    at = SkipSpace(object, at + member->whole.size());
    if (at >= object.size()) return std::nullopt;
    if (object[at] == '}') return members;
    if (object[at] != ',') return std::nullopt;
    at = SkipSpace(object, at + 1);
  }
  return std::nullopt;
}

absl::string_view JsonValue(absl::string_view object, absl::string_view key) {
  const std::optional<std::vector<JsonMember>> members = JsonMembers(object);
  if (!members.has_value()) return {};
  for (const JsonMember& member : *members) {
    if (member.key == key) return member.value;
  }
  return {};
}

absl::string_view JsonString(absl::string_view value) {
  if (value.size() < 2 || value.front() != '"') return {};
  return value.substr(1, value.size() - 2);
}

}  // namespace npg::testing
