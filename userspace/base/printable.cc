// SPDX-License-Identifier: Apache-2.0
#include "base/printable.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::base {
namespace {

// Bytes of the well-formed UTF-8 sequence of a printable character that starts
// at text[0]; 0 when there is none.
size_t PrintableSequence(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return byte(0) >= 0x20 && byte(0) != 0x7f ? 1 : 0;
  size_t length = 0;
  uint32_t code = 0;
  if ((byte(0) & 0xe0) == 0xc0) {
    length = 2;
    code = byte(0) & 0x1f;
  } else if ((byte(0) & 0xf0) == 0xe0) {
    length = 3;
    code = byte(0) & 0x0f;
  } else if ((byte(0) & 0xf8) == 0xf0) {
    length = 4;
    code = byte(0) & 0x07;
  } else {
    return 0;
  }
  if (text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3f);
  }
  const bool overlong = (length == 2 && code < 0x80) || (length == 3 && code < 0x800) ||
                        (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  const bool control = code < 0xa0;
  // Marks that reorder the text around them, and the byte order mark.
  const bool invisible = code == 0x061c || (code >= 0x200b && code <= 0x200f) ||
                         (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) ||
                         code == 0xfeff;
  return overlong || surrogate || control || invisible || code > 0x10ffff ? 0 : length;
}

}  // namespace

std::string Printable(absl::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const size_t length = PrintableSequence(text);
    if (length == 0) {
      absl::StrAppend(&result, absl::CHexEscape(text.substr(0, 1)));
    } else {
      result.append(text.data(), length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return result;
}

std::string Quoted(absl::string_view text) {
  constexpr size_t kMax = 64;
  return absl::StrCat("\"", Printable(text.substr(0, kMax)), text.size() > kMax ? "..." : "", "\"");
}

}  // namespace npg::base
