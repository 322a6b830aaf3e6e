// SPDX-License-Identifier: Apache-2.0
#include "testing/api_query.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace npg::testing {
namespace {

bool IsHexByte(absl::string_view text) {
  return text.size() == 2 &&
         text.find_first_not_of("0123456789abcdefABCDEF") == absl::string_view::npos;
}

std::string Decode(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      decoded += ' ';
    } else if (text[i] == '%' && IsHexByte(text.substr(i + 1, 2))) {
      decoded += absl::HexStringToBytes(text.substr(i + 1, 2));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

}  // namespace

ApiTarget ParseTarget(absl::string_view target) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(target, absl::MaxSplits('?', 1));
  ApiTarget result{std::string(parts.first), {}};
  for (const absl::string_view parameter : absl::StrSplit(parts.second, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(parameter, absl::MaxSplits('=', 1));
    result.query.emplace(Decode(pair.first), Decode(pair.second));
  }
  return result;
}

std::string QueryValue(const ApiQuery& query, const std::string& name) {
  const auto it = query.find(name);
  return it == query.end() ? std::string() : it->second;
}

bool QueryFlag(const ApiQuery& query, const std::string& name) {
  const std::string value = QueryValue(query, name);
  return value == "1" || absl::EqualsIgnoreCase(value, "t") ||
         absl::EqualsIgnoreCase(value, "true");
}

}  // namespace npg::testing
