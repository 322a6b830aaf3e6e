// SPDX-License-Identifier: Apache-2.0
#include "node/mark_use.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/mark.h"

namespace npg::node {

bool Collides(const MarkUse& use, const core::Mark& mark) {
  switch (use.kind) {
    case MarkUse::Kind::kMatch: {
      const uint32_t wanted = use.value & use.mask;
      // It is about this bit, or a packet that has nothing but this bit is
      // judged unlike one without any mark.
      return (wanted & mark.mask) != 0 || (wanted == 0) != ((mark.value & use.mask) == wanted);
    }
    case MarkUse::Kind::kSet:
      return (use.value & mark.mask) != 0;
    case MarkUse::Kind::kLookup:
      return false;
  }
  return false;
}

std::optional<uint32_t> FreeMark(const std::vector<MarkUse>& uses) {
  // The default first, then the others of its byte, the low ones, and the
  // half that Calico, Tailscale and Weave share.
  std::vector<uint32_t> bits = {12, 11, 10, 9, 8};
  for (uint32_t bit = 0; bit < 8; ++bit) bits.push_back(bit);
  for (uint32_t bit = 16; bit < 32; ++bit) bits.push_back(bit);
  for (const uint32_t bit : bits) {
    const uint32_t value = uint32_t{1} << bit;
    const bool taken = std::any_of(uses.begin(), uses.end(), [value](const MarkUse& use) {
      return Collides(use, {value, value});
    });
    if (!taken) return value;
  }
  return std::nullopt;
}

}  // namespace npg::node
