// SPDX-License-Identifier: Apache-2.0
#include "core/service_name.h"

#include <algorithm>
#include <cstddef>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::core {
namespace {

constexpr size_t kMaxLabel = 63;
constexpr size_t kMaxPrintable = 64;

bool IsLabel(absl::string_view text) {
  return !text.empty() && text.size() <= kMaxLabel &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ||
                  c == '.';
         });
}

}  // namespace

bool IsServiceName(absl::string_view text) {
  const size_t slash = text.find('/');
  return slash != absl::string_view::npos && IsLabel(text.substr(0, slash)) &&
         IsLabel(text.substr(slash + 1));
}

std::string ServiceOfComment(absl::string_view comment) {
  const absl::string_view service = comment.substr(0, comment.find_first_of(": "));
  return IsServiceName(service) ? std::string(service) : "";
}

std::string Printable(absl::string_view text) {
  if (text.size() <= kMaxPrintable) return absl::CHexEscape(text);
  return absl::StrCat(absl::CHexEscape(text.substr(0, kMaxPrintable)), "...");
}

std::string OneLine(std::string message) {
  std::replace_if(
      message.begin(), message.end(),
      [](char c) { return !absl::ascii_isprint(static_cast<unsigned char>(c)); }, '?');
  return message;
}

}  // namespace npg::core
