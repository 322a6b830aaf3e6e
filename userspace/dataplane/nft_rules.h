// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_RULES_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_RULES_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "dataplane/nft_objects.h"
#include "dataplane/nft_rule_builder.h"
#include "dataplane/nft_table.h"

// What the table consists of. nft_rules.cc says why each rule is there.
namespace npg::dataplane {

// A chain and its rules, in order.
struct NftChain {
  std::string name;
  std::vector<NftnlRule> rules;
};

// The chain that the kernel calls; the others are reached from it.
inline constexpr absl::string_view kHookChain = "output";
inline constexpr uint32_t kHook = NF_INET_LOCAL_OUT;
// Before conntrack (-200) and before the raw table (-300), so that even what
// others do there finds the packet untracked.
inline constexpr int32_t kHookPriority = NF_IP_PRI_RAW - 10;

inline constexpr absl::string_view kExemptedCounter = "exempted";

// Longer than any connection lives: the entry goes when the connection does.
inline constexpr absl::Duration kTcpTimeout = absl::Hours(24 * 365);
// Nothing says that a UDP flow is over. As long as conntrack's longest timeout.
inline constexpr absl::Duration kUdpTimeout = absl::Hours(24 * 5);
// For retransmissions after the last FIN, and the RST that answers a late segment.
inline constexpr absl::Duration kClosedTimeout = absl::Seconds(30);

enum class NftSetUse : uint8_t {
  // Tuples (source address, source port, destination address, destination port)
  // of packets that are exempt: two for each flow.
  kFlows,
  // Tuples of the directions of a TCP connection that have sent FIN.
  kHalfClosed,
  // Every port that is in a tuple of the flow sets, as source or destination.
  // Has at least those; more costs a little time and nothing else.
  kPorts,
};

struct NftSetSpec {
  absl::string_view name;
  NftSetUse use;
  IpFamily family = IpFamily::kIpv4;  // of tuples
  uint8_t protocol = IPPROTO_TCP;     // of tuples

  uint32_t key_type() const;  // as nft numbers data types; tells it how to print
  uint32_t key_length() const;
  // The time that an entry is given when it is entered or refreshed.
  absl::Duration timeout() const { return protocol == IPPROTO_UDP ? kUdpTimeout : kTcpTimeout; }
  uint32_t size(uint32_t tuples) const { return use == NftSetUse::kPorts ? kPortsSize : tuples; }

  // As many as there are ports: never full.
  static constexpr uint32_t kPortsSize = 65536;
};

inline constexpr uint32_t kSetFlags = NFT_SET_TIMEOUT | NFT_SET_EVAL;
// Of each set of tuples.
inline constexpr uint32_t kSetSize = 65536;

inline constexpr NftSetSpec kPortsSet{"ports", NftSetUse::kPorts};
inline constexpr std::array<NftSetSpec, 7> kNftSets{{
    kPortsSet,
    {"tcp4", NftSetUse::kFlows, IpFamily::kIpv4, IPPROTO_TCP},
    {"tcp6", NftSetUse::kFlows, IpFamily::kIpv6, IPPROTO_TCP},
    {"half4", NftSetUse::kHalfClosed, IpFamily::kIpv4, IPPROTO_TCP},
    {"half6", NftSetUse::kHalfClosed, IpFamily::kIpv6, IPPROTO_TCP},
    {"udp4", NftSetUse::kFlows, IpFamily::kIpv4, IPPROTO_UDP},
    {"udp6", NftSetUse::kFlows, IpFamily::kIpv6, IPPROTO_UDP},
}};

// Chains with the rules for packets whose mark is `mark`.
std::vector<NftChain> MakeChains(const Mark& mark);

// The expressions of a rule, one line each: the same for a rule that was built
// and for that rule as the kernel lists it.
std::string RuleText(const nftnl_rule& rule);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_RULES_H_
