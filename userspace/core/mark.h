// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_MARK_H_
#define NODEPORT_GUARD_CORE_MARK_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::core {

// Bits of the packet mark: a packet has the mark when (its mark & mask) == value.
// The default is the mark that exempts a packet.
struct Mark {
  uint32_t value = 0x1000;
  uint32_t mask = 0x1000;

  bool operator==(const Mark&) const = default;
};

// "0x1000/0x1000".
std::string ToString(const Mark& mark);

// "0x1000".
std::string HexText(uint32_t bits);

// 32 bits in hexadecimal ("0x1000") or decimal. INVALID_ARGUMENT quotes other text.
absl::StatusOr<uint32_t> ParseMarkBits(absl::string_view text);

// "0x1000/0x1000"; without a mask all bits count, as in iptables.
absl::StatusOr<Mark> ParseMark(absl::string_view text);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_MARK_H_
