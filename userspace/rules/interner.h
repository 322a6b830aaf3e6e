// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_INTERNER_H_
#define NODEPORT_GUARD_RULES_INTERNER_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

namespace npg::rules {

// Numbers values, equal ones once. References to values stay valid. T has
// AbslHashValue().
template <typename T>
class Interner {
 public:
  Interner() : ids_(0, Hash{&values_}, Equal{&values_}) {}
  Interner(const Interner&) = delete;
  Interner& operator=(const Interner&) = delete;

  uint32_t Intern(T value) {
    const auto found = ids_.find(value);
    if (found != ids_.end()) return *found;
    values_.push_back(std::move(value));
    const auto id = static_cast<uint32_t>(values_.size() - 1);
    ids_.insert(id);
    return id;
  }

  const T& operator[](uint32_t id) const { return values_[id]; }
  size_t size() const { return values_.size(); }

 private:
  struct Hash {
    using is_transparent = void;
    const std::deque<T>* values;
    size_t operator()(const T& value) const { return absl::HashOf(value); }
    size_t operator()(uint32_t id) const { return absl::HashOf((*values)[id]); }
  };
  struct Equal {
    using is_transparent = void;
    const std::deque<T>* values;
    bool operator()(uint32_t a, uint32_t b) const { return a == b; }
    bool operator()(uint32_t a, const T& b) const { return (*values)[a] == b; }
  };

  std::deque<T> values_;
  absl::flat_hash_set<uint32_t, Hash, Equal> ids_;
};

// Numbers texts of at most 65535 bytes, longer ones are cut; equal ones once, in blocks that do
// not move. 0 is the empty text.
class TextInterner {
 public:
  TextInterner() : ids_(0, Hash{this}, Equal{this}) { Intern(""); }
  TextInterner(const TextInterner&) = delete;
  TextInterner& operator=(const TextInterner&) = delete;

  uint32_t Intern(absl::string_view text) {
    text = text.substr(0, kMaxText);
    const auto found = ids_.find(text);
    if (found != ids_.end()) return *found;
    const uint32_t id = Store(text);
    ids_.insert(id);
    return id;
  }

  std::optional<uint32_t> Find(absl::string_view text) const {
    const auto found = ids_.find(text.substr(0, kMaxText));
    if (found == ids_.end()) return std::nullopt;
    return *found;
  }

  absl::string_view operator[](uint32_t id) const {
    const char* const at = &(*blocks_[id >> kBlockBits])[id & (kBlockBytes - 1)];
    const size_t size = size_t{static_cast<uint8_t>(at[0])} << 8 | static_cast<uint8_t>(at[1]);
    return {at + kLengthBytes, size};
  }

 private:
  static constexpr size_t kBlockBits = 16;
  static constexpr size_t kBlockBytes = size_t{1} << kBlockBits;
  static constexpr size_t kLengthBytes = 2;
  static constexpr size_t kMaxText = kBlockBytes - 1 - kLengthBytes;

  struct Hash {
    using is_transparent = void;
    const TextInterner* texts;
    size_t operator()(absl::string_view text) const { return absl::HashOf(text); }
    size_t operator()(uint32_t id) const { return absl::HashOf((*texts)[id]); }
  };
  struct Equal {
    using is_transparent = void;
    const TextInterner* texts;
    bool operator()(uint32_t a, uint32_t b) const { return a == b; }
    bool operator()(uint32_t a, absl::string_view b) const { return (*texts)[a] == b; }
  };

  uint32_t Store(absl::string_view text) {
    if (blocks_.empty() || kBlockBytes - used_ < kLengthBytes + text.size()) {
      blocks_.push_back(std::make_unique<Block>());
      used_ = 0;
    }
    Block& block = *blocks_.back();
    const size_t at = used_;
    block[at] = static_cast<char>(text.size() >> 8);
    block[at + 1] = static_cast<char>(text.size() & 0xff);
    std::copy(text.begin(), text.end(), &block[at + kLengthBytes]);
    used_ += kLengthBytes + text.size();
    return static_cast<uint32_t>((blocks_.size() - 1) << kBlockBits | at);
  }

  using Block = std::array<char, kBlockBytes>;
  std::vector<std::unique_ptr<Block>> blocks_;
  size_t used_ = 0;  // of the last block
  absl::flat_hash_set<uint32_t, Hash, Equal> ids_;
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_INTERNER_H_
