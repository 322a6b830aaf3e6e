// SPDX-License-Identifier: Apache-2.0
#include "core/service_name.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/dns_name.h"

namespace npg::core {
namespace {

constexpr size_t kMaxPrintable = 64;

}  // namespace

bool IsServiceName(absl::string_view text) {
  const std::optional<ServiceNameParts> parts = SplitServiceName(text);
  return parts && IsNameText(parts->ns, kMaxDnsLabel) && IsNameText(parts->name, kMaxDnsLabel);
}

std::optional<ServiceNameParts> SplitServiceName(absl::string_view text) {
  const size_t slash = text.find('/');
  if (slash == absl::string_view::npos) return std::nullopt;
  return ServiceNameParts{text.substr(0, slash), text.substr(slash + 1)};
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
