// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_OBSTACLE_TEXT_H_
#define NODEPORT_GUARD_NODE_OBSTACLE_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>

#include "node/loopback_rules.h"

// The texts of an UntrackedObstacle: what a rule does, and what to add to its chain.

namespace npg::node {

struct RulePlace {
  NftChain chain;
  uint64_t handle = 0;
};

// "nft table inet vrf, chain out". `of_iptables`: iptables-nft made the table.
std::string WhereText(const NftChain& chain, bool of_iptables);

// "sets a conntrack zone (handle 3)"; "may set ..." unless `surely`.
std::string ZoneText(uint64_t handle, bool surely);

// A rule by which packets of lo leave the chain, which `hook` leads to.
std::string ZoneFix(const NftChain& chain, uint32_t hook);

// "drops untracked packets (handle 7)"; "may drop ..." unless `certain`.
std::string StateDropText(const RulePlace& place, const NftBaseChain& base, bool certain);

// "accepts by connection state and drops untracked packets of lo (its policy)"; nullopt: the
// policy of the base chain drops them.
std::string StateAcceptText(const std::optional<RulePlace>& dropped_by, const NftBaseChain& base,
                            bool certain);

// A rule that accepts packets of lo.
std::string AcceptFix(const NftBaseChain& base, bool of_iptables);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_OBSTACLE_TEXT_H_
