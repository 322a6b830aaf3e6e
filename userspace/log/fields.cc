// SPDX-License-Identifier: Apache-2.0
#include "log/fields.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/printable.h"

namespace npg::log {
namespace {

// Whether a value needs no quotes.
bool IsBare(absl::string_view value) {
  constexpr absl::string_view kAlso = "._-:/@+[]";
  return !value.empty() && std::all_of(value.begin(), value.end(), [&](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           kAlso.find(c) != absl::string_view::npos;
  });
}

}  // namespace

Fields& Fields::Add(absl::string_view name, absl::string_view value) {
  absl::StrAppend(&text_, " ", name, "=");
  if (IsBare(value)) {
    absl::StrAppend(&text_, value);
  } else {
    absl::StrAppend(&text_, "\"", absl::CHexEscape(value), "\"");
  }
  absl::StrAppend(&json_, ",\"", name, "\":", JsonString(value));
  return *this;
}

Fields& Fields::AddPlain(absl::string_view name, absl::string_view value) {
  absl::StrAppend(&text_, " ", name, "=", value);
  absl::StrAppend(&json_, ",\"", name, "\":", value);
  return *this;
}

std::string JsonString(absl::string_view text) {
  return nlohmann::json(std::string(text))
      .dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
}

std::string OneLineText(absl::string_view text) { return base::Printable(text); }

}  // namespace npg::log
