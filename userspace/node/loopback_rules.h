// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_LOOPBACK_RULES_H_
#define NODEPORT_GUARD_NODE_LOOPBACK_RULES_H_

#include <linux/netlink.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/functional/function_ref.h"
#include "base/nft_objects.h"
#include "node/nft_tables.h"

// The rules of nf_tables, as an untracked packet of a connect over lo meets them.

namespace npg::node {

struct NftChain {
  NftTableId table;
  std::string name;

  auto operator<=>(const NftChain&) const = default;
};

struct NftBaseChain {
  NftChain chain;
  uint32_t hook = 0;
  int32_t priority = 0;
  bool drops = false;  // its policy
  bool nat = false;    // its type
};

// Whether the table is of IPv4, IPv6 or both (inet).
bool IsOfIp(const NftTableId& table);

// Whether a rule applies to an untracked packet of a connect over lo.
enum class RuleMatches { kYes, kNo, kSome };

// The rules are looked at for packets of IPv4 and of IPv6.
inline constexpr std::array<uint8_t, 2> kPacketFamilies = {NFPROTO_IPV4, NFPROTO_IPV6};

struct LoopbackRule {
  // By index in kPacketFamilies.
  std::array<RuleMatches, kPacketFamilies.size()> matches = {RuleMatches::kYes, RuleMatches::kYes};
  // Whether it can match a tracked packet on lo.
  std::array<bool, kPacketFamilies.size()> of_lo = {true, true};
  // It asks for more than interfaces and addresses (a port, a mark): if it matches some packets,
  // it does not match all of lo.
  bool narrow = false;
  bool asks_state = false;
  bool maps = false;  // looks up a verdict that is not known
  bool sets_zone = false;
  enum class Verdict { kNone, kAccept, kDrop, kJump, kGoto, kReturn } verdict = Verdict::kNone;
  std::string target;  // of kJump and kGoto
  uint64_t handle = 0;
};

// What a set of states, or a map from states to verdicts, has for `untracked`.
struct UntrackedElement {
  bool listed = false;
  LoopbackRule::Verdict verdict = LoopbackRule::Verdict::kNone;
  std::string target;
};

// Reads it; on an error, `untracked` is taken for not listed, as is usual.
UntrackedElement ReadUntrackedElement(const NftTableId& table, const std::string& set);

// Whether packets on the hook have an input interface; otherwise an output interface.
bool Arrives(uint32_t hook);

// A chain with a hook; nullopt for other chains, and for messages that cannot be parsed.
std::optional<NftBaseChain> DecodeBaseChain(const nlmsghdr& message);

// A rule, decoded for hooks on which packets leave, and for those on which they arrive.
struct LoopbackRules {
  LoopbackRule leaving;
  LoopbackRule arriving;
};

// `states` has what a set of that name in the rule's table has for `untracked`. nullopt for rules
// of chains other than `chain`, which kernels that do not filter list, too, and for messages that
// cannot be parsed.
std::optional<LoopbackRules> DecodeRule(
    const nlmsghdr& message, const std::string& chain,
    absl::FunctionRef<UntrackedElement(const std::string& set)> states);

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_LOOPBACK_RULES_H_
