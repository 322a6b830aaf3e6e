// SPDX-License-Identifier: Apache-2.0
#include "rules/xt_address_types.h"

// glibc's in.h must precede linux/in.h, which then omits its own definitions.
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "rules/rule.h"

namespace npg::rules {
namespace {

constexpr std::array<std::pair<absl::string_view, uint32_t>, 12> kAddressTypes = {{
    {"UNSPEC", RTN_UNSPEC},
    {"UNICAST", RTN_UNICAST},
    {"LOCAL", RTN_LOCAL},
    {"BROADCAST", RTN_BROADCAST},
    {"ANYCAST", RTN_ANYCAST},
    {"MULTICAST", RTN_MULTICAST},
    {"BLACKHOLE", RTN_BLACKHOLE},
    {"UNREACHABLE", RTN_UNREACHABLE},
    {"PROHIBIT", RTN_PROHIBIT},
    {"THROW", RTN_THROW},
    {"NAT", RTN_NAT},
    {"XRESOLVE", RTN_XRESOLVE},
}};

constexpr uint32_t AddressTypeBit(uint32_t type) { return 1U << type; }

// What the kernel looks up for IPv6; the other types are seen in the address.
constexpr uint32_t kLookedUpTypes =
    AddressTypeBit(RTN_LOCAL) | AddressTypeBit(RTN_ANYCAST) | AddressTypeBit(RTN_UNREACHABLE);
constexpr uint32_t kSeenTypes =
    AddressTypeBit(RTN_UNSPEC) | AddressTypeBit(RTN_UNICAST) | AddressTypeBit(RTN_MULTICAST);

bool HoldsForTypeOfIpv6(uint32_t mask, uint32_t type) {
  const uint32_t bit = AddressTypeBit(type);
  const uint32_t seen = (bit & kSeenTypes) != 0 ? bit : AddressTypeBit(RTN_UNICAST);
  if ((mask & kSeenTypes & ~seen) != 0) return false;
  const uint32_t looked_up = mask & kLookedUpTypes;
  return looked_up == 0 || (looked_up & bit) != 0;
}

}  // namespace

std::optional<uint32_t> AddressTypeByName(absl::string_view name) {
  for (const auto& [known, type] : kAddressTypes) {
    if (known == name) return type;
  }
  return std::nullopt;
}

std::vector<Interval> AddressTypeIntervals(uint8_t family, uint32_t mask) {
  std::vector<Interval> intervals;
  for (const auto& [name, type] : kAddressTypes) {
    const bool holds = family == NFPROTO_IPV6 ? HoldsForTypeOfIpv6(mask, type)
                                              : (mask & AddressTypeBit(type)) != 0;
    if (holds) intervals.push_back({.first = type, .last = type});
  }
  return intervals;
}

}  // namespace npg::rules
