// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_XT_ADDRESS_TYPES_H_
#define NODEPORT_GUARD_RULES_XT_ADDRESS_TYPES_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "rules/rule.h"

namespace npg::rules {

// Types of addresses, as the match addrtype of iptables has them.

// The number (RTN_LOCAL and the like) of a type that iptables-save prints: "LOCAL", "UNICAST".
// nullopt for other text.
std::optional<uint32_t> AddressTypeByName(absl::string_view name);

// The types of addresses for which addrtype holds, as intervals for Field::kSourceType and
// kDestinationType. `mask` has bit 1 << RTN_... for each type that the rule names.
// For IPv6, UNSPEC, UNICAST and MULTICAST ask what the address looks like, so that UNICAST alone
// holds for a local address, too (net/netfilter/xt_addrtype.c: match_type6()).
std::vector<Interval> AddressTypeIntervals(uint8_t family, uint32_t mask);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_XT_ADDRESS_TYPES_H_
