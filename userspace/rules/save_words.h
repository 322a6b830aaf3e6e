// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_SAVE_WORDS_H_
#define NODEPORT_GUARD_RULES_SAVE_WORDS_H_

#include <cstddef>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace npg::rules {

// Splits lines of iptables-save into words, as base::ShellWords() does, but without an allocation
// for each word: 10,000 Services make 100,000 lines.
class SaveWords {
 public:
  // False if a quote is not closed.
  bool Split(absl::string_view line);

  // Of the last line; valid as long as that line, and until the next call of Split().
  absl::Span<const absl::string_view> words() const { return words_; }

 private:
  // Takes the word that `rest` begins with. False if a quote in it is not closed.
  bool TakeWord(absl::string_view& rest);
  bool TakeEscaped(absl::string_view& rest);

  absl::InlinedVector<absl::string_view, 32> words_;
  std::string unescaped_;  // of words that are not a part of the line as they are
};

// The words of a rule that have not been taken yet.
class SaveCursor {
 public:
  explicit SaveCursor(absl::Span<const absl::string_view> words) : words_(words) {}

  bool empty() const { return words_.empty(); }
  size_t size() const { return words_.size(); }
  // The next word, or the one `ahead` of it; empty if there is none.
  absl::string_view Peek(size_t ahead = 0) const {
    return ahead < words_.size() ? words_[ahead] : absl::string_view();
  }
  // Only if not empty.
  absl::string_view Take() {
    const absl::string_view word = words_.front();
    words_.remove_prefix(1);
    return word;
  }
  // No more than size().
  absl::Span<const absl::string_view> Take(size_t count) {
    const absl::Span<const absl::string_view> taken = words_.first(count);
    words_.remove_prefix(count);
    return taken;
  }
  // Takes the next word if it is `word`.
  bool TakeIf(absl::string_view word) {
    if (empty() || words_.front() != word) return false;
    words_.remove_prefix(1);
    return true;
  }
  // Takes the values of an option that is not known: all words up to the next option.
  void SkipValues(absl::string_view option);
  // Whether the next word, or the one behind "!", is an option of a match, as "--dport" is; not one
  // of the rule, as "-j" is.
  bool AtMatchOption() const;

 private:
  // Whether the next word, or the one behind "!", is an option of either kind.
  bool AtOption() const;

  absl::Span<const absl::string_view> words_;
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_SAVE_WORDS_H_
