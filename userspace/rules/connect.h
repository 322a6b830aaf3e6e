// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_CONNECT_H_
#define NODEPORT_GUARD_RULES_CONNECT_H_

#include <array>
#include <cstdint>
#include <vector>

#include "core/listener.h"
#include "core/port.h"

namespace npg::rules {

// A connect from the node to an address of its own, to a port that is left open: its packet
// leaves and arrives on lo, from that same address (127.0.0.1, for all of 127.0.0.0/8), and
// conntrack has not seen it before.
struct Connect {
  core::Protocol protocol = core::Protocol::kTcp;
  std::array<uint8_t, 16> address{};  // network order, IPv4 as v4-mapped IPv6

  bool operator==(const Connect&) const = default;
};

// To 127.0.0.1, ::1 and each of `own`, of both protocols; sorted.
std::vector<Connect> ConnectsToLoopbackAnd(const core::AddressSet& own);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_CONNECT_H_
