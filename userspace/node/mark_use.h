// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_MARK_USE_H_
#define NODEPORT_GUARD_NODE_MARK_USE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/mark.h"

namespace npg::node {

// A rule that matches or changes the packet mark.
struct MarkUse {
  enum class Kind {
    kMatch,   // (mark & mask) == value, or not
    kSet,     // gives packets the bits of value
    kLookup,  // looks the mark up among values that were not read
  };
  std::string where;  // "ip rule", "iptables-legacy table mangle", "nft table inet vpn"
  std::string rule;   // "chain X, handle 5: matches mark 0x1000/0x1000"
  Kind kind = Kind::kMatch;
  uint32_t value = 0;
  uint32_t mask = ~uint32_t{0};
};

// Whether the rule treats a packet otherwise because it is exempted, or exempts it.
bool Collides(const MarkUse& use, const core::Mark& mark);

// A mark of one bit with which no use collides; nullopt when there is none. The
// bits of portmap, kube-proxy and kubelet (13, 14, 15) are never proposed.
std::optional<uint32_t> FreeMark(const std::vector<MarkUse>& uses);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_MARK_USE_H_
