// SPDX-License-Identifier: Apache-2.0
#include "core/dns_name.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

namespace npg::core {
namespace {

bool IsAlnum(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)); }
bool IsUpper(char c) { return absl::ascii_isupper(static_cast<unsigned char>(c)); }

}  // namespace

bool IsNameText(absl::string_view text, size_t max) {
  return !text.empty() && text.size() <= max && std::all_of(text.begin(), text.end(), [](char c) {
    return IsAlnum(c) || c == '-' || c == '_' || c == '.';
  });
}

bool IsDnsLabel(absl::string_view text) {
  return IsNameText(text, kMaxDnsLabel) && IsAlnum(text.front()) && IsAlnum(text.back()) &&
         std::none_of(text.begin(), text.end(),
                      [](char c) { return IsUpper(c) || c == '_' || c == '.'; });
}

bool IsHostName(absl::string_view text) {
  return IsNameText(text, kMaxDnsName) && IsAlnum(text.front());
}

}  // namespace npg::core
