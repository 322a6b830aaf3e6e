// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_NFT_REGISTERS_H_
#define NODEPORT_GUARD_RULES_NFT_REGISTERS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "rules/rule.h"

namespace npg::rules {

// The number in at most 16 bytes of network order, or of the host's.
Value ToValue(absl::string_view bytes, bool host_order);

// The lowest `bits` bits are 1.
Value LowBits(unsigned bits);

Operand FieldOperand(Field field, uint8_t size, bool host_order = false);
// A value that is the same for each packet: no bit of a field.
Operand FixedOperand(uint8_t size, Value value = 0);
Operand UnknownOperand(absl::string_view what, size_t size);

// What an expression has put into a range of registers.
struct NftLoad {
  enum class Kind : uint8_t {
    kOperand,
    kEtherType,  // the same, but the kernel's value is an ETH_P_..., the operand's an NFPROTO_...
    kConstant,
  };
  Kind kind = Kind::kOperand;
  uint8_t start = 0;  // its first byte in the registers
  uint8_t size = 0;   // in bytes
  // The registers have the upper bytes of the field, or some from its middle: their value is to be
  // shifted to the left by so many bits. The operand's mask has those bytes only.
  uint8_t shift = 0;
  Operand operand{};
  absl::string_view constant{};  // `size` bytes of the message
  // Kept by NftRegisters: when it was loaded, and the first load of the key it was last used in.
  uint32_t written = 0;
  mutable uint32_t key = 0;

  // It has all bytes of the field, in their places.
  bool whole() const { return shift == 0 && size == operand.size; }
};

// The registers of nf_tables while one rule is followed (struct nft_regs): 64 bytes, which
// expressions address in units of 4 or 16 bytes.
class NftRegisters {
 public:
  static constexpr size_t kSize = 64;

  // The first byte of register `number`, an NFT_REG_... or NFT_REG32_...; nullopt for those that
  // hold no data.
  static std::optional<uint8_t> Start(std::optional<uint32_t> number);

  // Bytes from `start` on will be overwritten, up to the end of the last word of four bytes.
  void Forget(size_t start, size_t size);
  // Adds to what is there; no-op beyond the end.
  void Add(NftLoad load);
  void Set(NftLoad load) {
    Forget(load.start, load.size);
    Add(std::move(load));
  }
  // From `start` on there are data of a map, of a size that its rule does not give.
  void SetMapData(uint8_t start);

  // What was loaded at exactly `start`; nullptr: nothing, or it is not known.
  const NftLoad* Find(size_t start) const;
  // The place in the data of a map that `start` is; -1: it is none.
  int8_t MapOffset(size_t start) const;

  // One of the loads that a range consists of.
  struct Piece {
    const NftLoad* load = nullptr;  // nullptr: not known
    uint8_t start = 0;              // in the range
    uint8_t size = 0;               // less than the load's if the range ends first
  };
  using Pieces = absl::InlinedVector<Piece, 4>;
  // Skips padding.
  Pieces Split(size_t start, size_t size) const;

  // The operands of a set's key that starts there. Its length is not in the rule: it ends where
  // nothing is loaded, or only what an earlier key consisted of.
  std::vector<Operand> Key(size_t start) const;

  // The packet has another mark now than the registers.
  void MarkChanged();

 private:
  Operand KeyOperand(const NftLoad& load, size_t start) const;

  absl::InlinedVector<NftLoad, 4> loads_;
  uint32_t writes_ = 0;
  uint32_t map_written_ = 0;
  int8_t map_start_ = -1;
};

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_NFT_REGISTERS_H_
