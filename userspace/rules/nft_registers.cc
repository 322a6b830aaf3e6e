// SPDX-License-Identifier: Apache-2.0
#include "rules/nft_registers.h"

#include <endian.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

constexpr size_t kNftWord = NFT_REG32_SIZE;
constexpr size_t kNftWords = NFT_REG_SIZE / NFT_REG32_SIZE;

size_t NftWordEnd(size_t position) { return (position + kNftWord - 1) / kNftWord * kNftWord; }

// Part of a key that cannot be evaluated.
Operand OpenKeyOperand(const NftLoad& load, size_t offset) {
  Operand operand = load.operand;
  if (operand.field != Field::kChance && operand.field != Field::kUnknown) {
    const bool type = load.kind == NftLoad::Kind::kEtherType;
    operand = UnknownOperand(type ? "meta protocol" : "a part of a field in a set's key", 0);
  }
  operand.size = load.size;
  operand.offset = static_cast<uint8_t>(offset);
  return operand;
}

}  // namespace

Value ToValue(absl::string_view bytes, bool host_order) {
  std::array<uint64_t, 2> words{};
  const size_t size = std::min(bytes.size(), sizeof(words));
  if (size == 0) return 0;
  if (host_order && std::endian::native == std::endian::little) {
    std::memcpy(words.data(), bytes.data(), size);
    return absl::MakeUint128(words[1], words[0]);
  }
  std::array<char, sizeof(words)> padded{};
  std::memcpy(&padded.at(sizeof(words) - size), bytes.data(), size);
  std::memcpy(words.data(), padded.data(), sizeof(words));
  return absl::MakeUint128(be64toh(words[0]), be64toh(words[1]));
}

Value LowBits(unsigned bits) {
  return bits >= 128 ? kAllBits : (Value(1) << static_cast<int>(bits)) - 1;
}

Operand FieldOperand(Field field, uint8_t size, bool host_order) {
  Operand operand;
  operand.field = field;
  operand.size = size;
  operand.host_order = host_order;
  return operand;
}

Operand FixedOperand(uint8_t size, Value value) {
  Operand operand = FieldOperand(Field::kFamily, size, true);
  operand.mask = 0;
  operand.flip = value;
  return operand;
}

Operand UnknownOperand(absl::string_view what, size_t size) {
  Operand operand = FieldOperand(Field::kUnknown, static_cast<uint8_t>(size));
  operand.unknown = std::string(what);
  return operand;
}

std::optional<uint8_t> NftRegisters::Start(std::optional<uint32_t> number) {
  if (!number) return std::nullopt;
  if (*number >= NFT_REG_1 && *number <= NFT_REG_4) {
    return static_cast<uint8_t>((*number - NFT_REG_1) * NFT_REG_SIZE);
  }
  if (*number >= NFT_REG32_00 && *number <= NFT_REG32_15) {
    return static_cast<uint8_t>((*number - NFT_REG32_00) * kNftWord);
  }
  return std::nullopt;
}

void NftRegisters::Forget(size_t start, size_t size) {
  static_assert(kSize == 4 * kNftWords * kNftWord);
  const size_t end = NftWordEnd(start + size);
  const auto overwritten = [start, end](const NftLoad& load) {
    return load.start < end && start < size_t{load.start} + load.size;
  };
  loads_.erase(std::remove_if(loads_.begin(), loads_.end(), overwritten), loads_.end());
}

void NftRegisters::Add(NftLoad load) {
  if (load.size == 0 || size_t{load.start} + load.size > kSize) return;
  load.written = ++writes_;
  load.key = 0;
  loads_.push_back(std::move(load));
}

void NftRegisters::SetMapData(uint8_t start) {
  map_start_ = static_cast<int8_t>(start);
  map_written_ = ++writes_;
}

const NftLoad* NftRegisters::Find(size_t start) const {
  for (const NftLoad& load : loads_) {
    if (load.start != start) continue;
    const bool covered =
        map_start_ >= 0 && start >= static_cast<size_t>(map_start_) && load.written < map_written_;
    return covered ? nullptr : &load;
  }
  return nullptr;
}

int8_t NftRegisters::MapOffset(size_t start) const {
  if (map_start_ < 0 || start < static_cast<size_t>(map_start_) || Find(start) != nullptr) {
    return -1;
  }
  return static_cast<int8_t>(start - static_cast<size_t>(map_start_));
}

NftRegisters::Pieces NftRegisters::Split(size_t start, size_t size) const {
  Pieces pieces;
  uint32_t first = 0;
  for (size_t at = start; at < start + size;) {
    const NftLoad* load = Find(at);
    if (load == nullptr && at != NftWordEnd(at)) {
      at = NftWordEnd(at);
      continue;
    }
    const size_t left = start + size - at;
    const size_t taken = load == nullptr ? left : std::min<size_t>(load->size, left);
    pieces.push_back(
        {load, static_cast<uint8_t>(at - start), static_cast<uint8_t>(std::min(taken, kSize))});
    if (load != nullptr) {
      if (first == 0) first = load->written;
      load->key = first;
    }
    at += taken;
  }
  return pieces;
}

std::vector<Operand> NftRegisters::Key(size_t start) const {
  std::vector<Operand> operands;
  uint32_t first = 0;
  for (size_t at = start; at < kSize;) {
    const NftLoad* load = Find(at);
    if (load == nullptr) break;
    if (first == 0) first = load->written;
    if (at != start && load->key != 0 && load->key != first) break;
    load->key = first;
    operands.push_back(KeyOperand(*load, start));
    at = NftWordEnd(at + load->size);
  }
  if (operands.empty()) {
    const bool map = MapOffset(start) >= 0;
    operands.push_back(UnknownOperand(map ? "data of a map" : "register", 0));
  }
  return operands;
}

Operand NftRegisters::KeyOperand(const NftLoad& load, size_t start) const {
  const size_t offset = load.start - start;
  if (load.kind == NftLoad::Kind::kConstant && load.size <= sizeof(Value)) {
    Operand constant = FixedOperand(load.size, ToValue(load.constant, true));
    constant.offset = static_cast<uint8_t>(offset);
    return constant;
  }
  const size_t end = size_t{load.start} + load.size;
  const bool shares_word = end != NftWordEnd(end) && Find(end) != nullptr;
  if (load.kind != NftLoad::Kind::kOperand || !load.whole() || shares_word) {
    return OpenKeyOperand(load, offset);
  }
  Operand operand = load.operand;
  operand.offset = static_cast<uint8_t>(offset);
  return operand;
}

void NftRegisters::MarkChanged() {
  for (NftLoad& load : loads_) {
    if (load.operand.field != Field::kMark) continue;
    load.operand = UnknownOperand("an earlier mark", load.size);
  }
}

}  // namespace npg::rules
