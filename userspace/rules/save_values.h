// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_RULES_SAVE_VALUES_H_
#define NODEPORT_GUARD_RULES_SAVE_VALUES_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "rules/rule.h"

// Values of options, as iptables-save prints them. nullopt: not such a value. `family` is
// NFPROTO_IPV4 or NFPROTO_IPV6; an address of the other family is no value.

namespace npg::rules {

// 4 or 16 bytes.
uint8_t SavedAddressSize(uint8_t family);

std::optional<Value> SavedAddress(uint8_t family, absl::string_view text);

struct SavedNetwork {
  Value address = 0;
  Value mask = 0;
  // The addresses of the network, if its mask is a prefix.
  std::optional<Interval> interval;
};

// "10.0.0.0/8", "10.0.0.1", "10.0.0.1/255.0.0.255".
std::optional<SavedNetwork> ParseSavedNetwork(uint8_t family, absl::string_view text);

// "10.0.0.1-10.0.0.9", "10.0.0.1".
std::optional<Interval> SavedAddressRange(uint8_t family, absl::string_view text);

// "80", "1000:2000", with `separator` between the ends.
std::optional<Interval> SavedPortRange(absl::string_view text, char separator);

// "80,1000:2000".
std::optional<std::vector<Interval>> SavedPortList(absl::string_view text);

// "eth0", "eth+" (each name that begins so), as in Field::kInName.
std::optional<Interval> SavedInterface(absl::string_view text);

// "tcp", "6". Protocols that are neither known by name nor "all" are 255, which no connect has.
std::optional<uint8_t> SavedProtocol(absl::string_view text);

// "0x4000", "16384".
std::optional<uint32_t> SavedNumber(absl::string_view text);

// "0x4000/0xff00": value and mask; the mask is 0xffffffff if there is none.
std::optional<std::pair<uint32_t, uint32_t>> SavedMasked(absl::string_view text);

// "SYN,ACK", "ALL", "NONE": bits of the TCP header.
std::optional<uint8_t> SavedTcpFlags(absl::string_view text);

// "NEW,ESTABLISHED": bits of Field::kState. DNAT and SNAT have none: they describe connections
// that conntrack has seen before.
std::optional<uint32_t> SavedStates(absl::string_view text);

}  // namespace npg::rules

#endif  // NODEPORT_GUARD_RULES_SAVE_VALUES_H_
