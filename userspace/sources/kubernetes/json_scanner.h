// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_KUBERNETES_JSON_SCANNER_H_
#define NODEPORT_GUARD_SOURCES_KUBERNETES_JSON_SCANNER_H_

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace npg::sources {

// Finds where the brackets of one JSON value are, while its text arrives, and
// that the text is JSON: grammar, numbers, literals, escapes. (It leaves UTF-8
// to the parser.) Built for on-demand parsing, which neither looks into what it
// passes over nor is to be trusted with text of which the grammar is wrong.
class JsonScanner {
 public:
  // The API server's own types nest about twenty deep; the parser takes 1024.
  static constexpr size_t kMaxDepth = 1000;

  enum class Step : uint8_t {
    kMore,   // the text ended first: go on with more of it
    kOpen,   // past a '{' or '['
    kClose,  // past a '}' or ']'
    kError,  // not JSON: error() says why
  };

  // Goes on at position() until a bracket opens or closes outside of which
  // there are at most `depth` others: at depth 0 those of the whole value. Then
  // position() is that of the byte after the bracket. `text` must begin with the
  // text of the last call, but for what was Drop()ped.
  Step Scan(absl::string_view text, size_t depth);

  // Says that the caller has removed the first `bytes` of the text, of which
  // there are at most keep_from().
  void Drop(size_t bytes);

  // Forgets it all: a value begins at `position`. Comes before all others.
  void Restart(size_t position);

  size_t position() const { return position_; }
  // Where the text starts that is needed again: at a token that has not ended.
  size_t keep_from() const { return token_ == Token::kNone ? position_ : token_begin_; }

  size_t depth() const { return depth_; }
  bool in_array() const { return depth_ > 0 && arrays_[depth_ - 1]; }
  // The last member name of the outermost object, as it is written.
  absl::string_view key() const { return key_; }
  // "'}' where a value is expected"; one printable line.
  const std::string& error() const { return error_; }

 private:
  enum class Token : uint8_t { kNone, kString, kScalar };

  // Go on with the token; kClose when it has ended.
  Step ScanString(absl::string_view text);
  Step ScanScalar(absl::string_view text);
  // Takes a byte outside of tokens, or begins one; kMore when there is no event.
  Step Structure(char c, size_t depth);
  Step Open(bool array, size_t depth);
  Step Close(size_t depth);
  void AfterValue();
  Step Fail(std::string error);
  Step Unexpected(char c);

  size_t position_ = 0;
  size_t token_begin_ = 0;
  size_t depth_ = 0;
  Token token_ = Token::kNone;
  uint8_t allowed_ = 0;            // what may come next; set by Restart()
  std::bitset<kMaxDepth> arrays_;  // by depth: an array, not an object
  std::string key_;
  std::string error_;
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_KUBERNETES_JSON_SCANNER_H_
