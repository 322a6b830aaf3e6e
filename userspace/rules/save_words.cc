// SPDX-License-Identifier: Apache-2.0
#include "rules/save_words.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace npg::rules {
namespace {

// Options whose one value is text that an administrator chose, which may begin with "-".
constexpr std::array<absl::string_view, 6> kSaveTextOptions = {
    "--string", "--hex-string", "--name", "--hashlimit-name", "--log-prefix", "--nflog-prefix"};

// "-j", "--dport"; not "-", and not "-5", which is a value.
bool LooksLikeSaveOption(absl::string_view word) {
  return word.size() > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9');
}

}  // namespace

bool SaveWords::Split(absl::string_view line) {
  words_.clear();
  unescaped_.clear();
  // Unescaped words are no longer than the line: views of them stay valid.
  unescaped_.reserve(line.size());
  while (true) {
    const size_t begin = line.find_first_not_of(' ');
    if (begin == absl::string_view::npos) return true;
    line.remove_prefix(begin);
    if (!TakeWord(line)) return false;
  }
}

bool SaveWords::TakeWord(absl::string_view& rest) {
  const bool quoted = rest.front() == '"';
  const absl::string_view text = rest.substr(quoted ? 1 : 0);
  const size_t end = std::min(text.find_first_of(quoted ? "\"\\" : " \"\\"), text.size());
  const absl::string_view behind = text.substr(end);
  const bool ends_here = quoted ? behind == "\"" || behind.substr(0, 2) == "\" "
                                : behind.empty() || behind.front() == ' ';
  if (!ends_here) return TakeEscaped(rest);
  words_.push_back(text.substr(0, end));
  rest = behind.substr(quoted ? 1 : 0);
  return true;
}

bool SaveWords::TakeEscaped(absl::string_view& rest) {
  const size_t begin = unescaped_.size();
  bool in_quotes = false;
  size_t i = 0;
  for (; i < rest.size() && (in_quotes || rest[i] != ' '); ++i) {
    if (rest[i] == '"') {
      in_quotes = !in_quotes;
      continue;
    }
    if (rest[i] == '\\' && i + 1 < rest.size()) ++i;
    unescaped_ += rest[i];
  }
  rest.remove_prefix(i);
  words_.push_back(absl::string_view(unescaped_).substr(begin));
  return !in_quotes;
}

bool SaveCursor::AtOption() const {
  return LooksLikeSaveOption(Peek()) || (Peek() == "!" && LooksLikeSaveOption(Peek(1)));
}

bool SaveCursor::AtMatchOption() const {
  return absl::StartsWith(Peek() == "!" ? Peek(1) : Peek(), "--");
}

void SaveCursor::SkipValues(absl::string_view option) {
  const bool text =
      std::find(kSaveTextOptions.begin(), kSaveTextOptions.end(), option) != kSaveTextOptions.end();
  if (text && !empty()) Take();
  while (!empty() && !AtOption()) Take();
}

}  // namespace npg::rules
