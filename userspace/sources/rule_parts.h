// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_RULE_PARTS_H_
#define NODEPORT_GUARD_SOURCES_RULE_PARTS_H_

#include <bitset>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "base/netlink_view.h"

namespace npg::sources {

// The places where rules may take local ports away. Each is read separately, and again
// only when it may have changed.
enum class RulePart : uint8_t {
  kMaps,  // the maps of kube-proxy's nftables mode
  kIp4Nat,
  kIp4Filter,
  kIp6Nat,
  kIp6Filter,
  kIp4Legacy,  // all tables of iptables-legacy, which sends no notifications
  kIp6Legacy,
};
inline constexpr size_t kRuleParts = 7;

using RulePartSet = std::bitset<kRuleParts>;

constexpr size_t Index(RulePart part) { return static_cast<size_t>(part); }

inline RulePartSet LegacyParts() {
  return RulePartSet().set(Index(RulePart::kIp4Legacy)).set(Index(RulePart::kIp6Legacy));
}

// The part in an nftables table, with `family` NFPROTO_...; none for an irrelevant table,
// such as our own.
RulePartSet PartOfTable(uint8_t family, absl::string_view table);

// The part that an nf_tables notification concerns, if any.
RulePartSet ChangedPart(const base::NetlinkMessage& message);

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_RULE_PARTS_H_
