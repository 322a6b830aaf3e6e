// SPDX-License-Identifier: Apache-2.0
#include "core/port_blocks.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace npg::core {

std::vector<PortBlocks::Prefix> PortBlocks::Prefixes() const {
  std::vector<Prefix> prefixes;
  AppendPrefixes(0, kBlocks, prefixes);
  if (prefixes.size() > kMaxPrefixes) return {Prefix{}};
  return prefixes;
}

// Of `count` blocks, a power of two, from `first` on.
void PortBlocks::AppendPrefixes(size_t first, size_t count, std::vector<Prefix>& prefixes) const {
  size_t used = 0;
  for (size_t block = first; block < first + count; ++block) used += used_.test(block) ? 1 : 0;
  if (used == 0) return;
  if (used == count) {
    prefixes.push_back({static_cast<uint16_t>(first * kPortsPerBlock),
                        static_cast<uint16_t>(0x10000 - count * kPortsPerBlock)});
    return;
  }
  AppendPrefixes(first, count / 2, prefixes);
  AppendPrefixes(first + count / 2, count / 2, prefixes);
}

}  // namespace npg::core
