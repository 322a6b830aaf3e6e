// SPDX-License-Identifier: Apache-2.0
#include "core/mark.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/decimal.h"
#include "base/printable.h"

namespace npg::core {

std::string HexText(uint32_t bits) { return absl::StrCat("0x", absl::Hex(bits)); }

std::string ToString(const Mark& mark) {
  return absl::StrCat(HexText(mark.value), "/", HexText(mark.mask));
}

absl::StatusOr<uint32_t> ParseMarkBits(absl::string_view text) {
  std::optional<uint32_t> bits;
  if (absl::StartsWithIgnoreCase(text, "0x")) {
    uint32_t number = 0;
    // absl's parser also accepts signs, blanks and a second "0x".
    const absl::string_view digits = text.substr(2);
    if (std::all_of(digits.begin(), digits.end(),
                    [](char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); }) &&
        absl::SimpleHexAtoi(digits, &number)) {
      bits = number;
    }
  } else {
    bits = base::ParseDecimal<uint32_t>(text);
  }
  if (bits) return *bits;
  return absl::InvalidArgumentError(
      absl::StrCat(base::Quoted(text), " is not a number of 32 bits, as 0x1000 or 4096"));
}

absl::StatusOr<Mark> ParseMark(absl::string_view text) {
  const size_t slash = text.find('/');
  const absl::StatusOr<uint32_t> value = ParseMarkBits(text.substr(0, slash));
  if (!value.ok()) return value.status();
  Mark mark{*value, ~uint32_t{0}};
  if (slash == absl::string_view::npos) return mark;
  const absl::StatusOr<uint32_t> mask = ParseMarkBits(text.substr(slash + 1));
  if (!mask.ok()) return mask.status();
  mark.mask = *mask;
  return mark;
}

}  // namespace npg::core
