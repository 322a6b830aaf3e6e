// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/json_scanner.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/service_name.h"

namespace npg::sources {
namespace {

// What may come next, in bits.
constexpr uint8_t kValue = 1;
constexpr uint8_t kName = 2;  // of a member
constexpr uint8_t kColon = 4;
constexpr uint8_t kComma = 8;
constexpr uint8_t kEnd = 16;  // of the object or list that is open

// Longer names of members than this are none that anybody looks for.
constexpr size_t kMaxKey = 64;

using ByteSet = std::array<bool, 256>;

constexpr ByteSet MakeSet(const char* bytes) {
  ByteSet set{};
  for (const char* byte = bytes; *byte != '\0'; ++byte) set.at(static_cast<uint8_t>(*byte)) = true;
  return set;
}

// What ends a run of plain bytes of a string: quote, backslash, and the control
// characters that JSON wants escaped.
constexpr ByteSet MakeStringStops() {
  ByteSet set = MakeSet("\"\\");
  for (size_t control = 0; control < 0x20; ++control) set.at(control) = true;
  return set;
}

constexpr ByteSet kSpaceBytes = MakeSet(" \t\r\n");
constexpr ByteSet kStringStop = MakeStringStops();
constexpr ByteSet kScalar =
    MakeSet("+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
constexpr ByteSet kSimpleEscape = MakeSet("\"\\/bfnrt");

bool In(const ByteSet& set, char byte) { return set[static_cast<uint8_t>(byte)]; }

// The end of the run of bytes that are in `set`, or are not, from `from` on.
size_t SkipIn(absl::string_view text, size_t from, const ByteSet& set) {
  while (from < text.size() && In(set, text[from])) ++from;
  return from;
}

size_t SkipNotIn(absl::string_view text, size_t from, const ByteSet& set) {
  while (from < text.size() && !In(set, text[from])) ++from;
  return from;
}

size_t SkipDigits(absl::string_view text, size_t from) {
  while (from < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[from]))) ++from;
  return from;
}

// RFC 8259, section 6.
bool IsNumber(absl::string_view text) {
  size_t at = !text.empty() && text[0] == '-' ? 1 : 0;
  const size_t digits = at;
  at = SkipDigits(text, at);
  if (at == digits || (text[digits] == '0' && at > digits + 1)) return false;
  if (at < text.size() && text[at] == '.') {
    const size_t fraction = at + 1;
    at = SkipDigits(text, fraction);
    if (at == fraction) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    const size_t exponent = at;
    at = SkipDigits(text, exponent);
    if (at == exponent) return false;
  }
  return at == text.size();
}

// The escape that begins at `text[at]`, a backslash: its length, 0 when it is
// none, and npos when `text` ends before it does.
size_t EscapeLength(absl::string_view text, size_t at) {
  if (at + 1 == text.size()) return absl::string_view::npos;
  if (In(kSimpleEscape, text[at + 1])) return 2;
  if (text[at + 1] != 'u') return 0;
  for (size_t digit = at + 2; digit < at + 6; ++digit) {
    if (digit == text.size()) return absl::string_view::npos;
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(text[digit]))) return 0;
  }
  return 6;
}

}  // namespace

JsonScanner::Step JsonScanner::Scan(absl::string_view text, size_t depth) {
  while (true) {
    if (token_ != Token::kNone) {
      const Step step = token_ == Token::kString ? ScanString(text) : ScanScalar(text);
      if (step != Step::kClose) return step;
    }
    position_ = SkipIn(text, position_, kSpaceBytes);
    if (position_ == text.size()) return Step::kMore;
    const Step step = Structure(text[position_], depth);
    if (step != Step::kMore) return step;
  }
}

void JsonScanner::Drop(size_t bytes) {
  position_ -= bytes;
  if (token_ != Token::kNone) token_begin_ -= bytes;
}

void JsonScanner::Restart(size_t position) {
  position_ = position;
  depth_ = 0;
  token_ = Token::kNone;
  allowed_ = kValue;
  key_.clear();
}

JsonScanner::Step JsonScanner::ScanString(absl::string_view text) {
  while (true) {
    position_ = SkipNotIn(text, position_, kStringStop);
    if (position_ == text.size()) return Step::kMore;
    if (text[position_] == '"') break;
    if (text[position_] != '\\') return Fail("a control character in a string");
    const size_t length = EscapeLength(text, position_);
    if (length == absl::string_view::npos) return Step::kMore;
    if (length == 0) return Fail("an escape in a string that is none");
    position_ += length;
  }
  const absl::string_view string = text.substr(token_begin_ + 1, position_ - token_begin_ - 1);
  ++position_;
  token_ = Token::kNone;
  if ((allowed_ & kName) != 0) {
    if (depth_ == 1) key_ = std::string(string.substr(0, kMaxKey));
    allowed_ = kColon;
  } else {
    AfterValue();
  }
  return Step::kClose;
}

JsonScanner::Step JsonScanner::ScanScalar(absl::string_view text) {
  position_ = SkipIn(text, position_, kScalar);
  if (position_ == text.size()) return Step::kMore;
  const absl::string_view scalar = text.substr(token_begin_, position_ - token_begin_);
  if (scalar != "true" && scalar != "false" && scalar != "null" && !IsNumber(scalar)) {
    return Fail(absl::StrCat("\"", core::Printable(scalar), "\" where a value is expected"));
  }
  token_ = Token::kNone;
  AfterValue();
  return Step::kClose;
}

JsonScanner::Step JsonScanner::Structure(char c, size_t depth) {
  switch (c) {
    case '{':
    case '[':
      return (allowed_ & kValue) != 0 ? Open(c == '[', depth) : Unexpected(c);
    case '}':
    case ']':
      if ((allowed_ & kEnd) == 0 || in_array() != (c == ']')) return Unexpected(c);
      return Close(depth);
    case ',':
      if ((allowed_ & kComma) == 0) return Unexpected(c);
      allowed_ = in_array() ? kValue : kName;
      break;
    case ':':
      if ((allowed_ & kColon) == 0) return Unexpected(c);
      allowed_ = kValue;
      break;
    case '"':
      if ((allowed_ & (kValue | kName)) == 0) return Unexpected(c);
      token_ = Token::kString;
      token_begin_ = position_;
      break;
    default:
      if ((allowed_ & kValue) == 0 || !In(kScalar, c)) return Unexpected(c);
      token_ = Token::kScalar;
      token_begin_ = position_;
      return Step::kMore;  // its first byte is a part of it
  }
  ++position_;
  return Step::kMore;
}

JsonScanner::Step JsonScanner::Open(bool array, size_t depth) {
  if (depth_ == kMaxDepth) return Fail(absl::StrCat("nested more than ", kMaxDepth, " deep"));
  arrays_[depth_] = array;
  ++depth_;
  ++position_;
  allowed_ = array ? kValue | kEnd : kName | kEnd;
  return depth_ - 1 <= depth ? Step::kOpen : Step::kMore;
}

JsonScanner::Step JsonScanner::Close(size_t depth) {
  --depth_;
  ++position_;
  AfterValue();
  return depth_ <= depth ? Step::kClose : Step::kMore;
}

void JsonScanner::AfterValue() { allowed_ = depth_ == 0 ? 0 : kComma | kEnd; }

JsonScanner::Step JsonScanner::Fail(std::string error) {
  error_ = std::move(error);
  return Step::kError;
}

JsonScanner::Step JsonScanner::Unexpected(char c) {
  absl::string_view expected = "nothing";
  if ((allowed_ & kValue) != 0) {
    expected = "a value";
  } else if ((allowed_ & kName) != 0) {
    expected = "a member's name";
  } else if ((allowed_ & kColon) != 0) {
    expected = "':'";
  } else if ((allowed_ & kComma) != 0) {
    expected = in_array() ? "',' or ']'" : "',' or '}'";
  }
  return Fail(absl::StrCat("'", core::Printable({&c, 1}), "' where ", expected, " is expected"));
}

}  // namespace npg::sources
