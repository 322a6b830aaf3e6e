// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_RULES_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_RULES_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/nft_objects.h"
#include "core/mark.h"
#include "core/port_blocks.h"
#include "dataplane/nft/nft_rule_builder.h"
#include "dataplane/nft/nft_table.h"

// The contents of the table. nft_rules.cc has the reason for each rule.
namespace npg::dataplane {

// The hook and priority of a base chain.
struct NftHook {
  uint32_t hook = NF_INET_LOCAL_OUT;
  int32_t priority = 0;

  bool operator==(const NftHook&) const = default;
};

// A chain and its rules, in order.
struct NftChain {
  std::string name;
  std::vector<base::NftnlRule> rules;
  std::optional<NftHook> hook = std::nullopt;  // nullopt: another chain jumps to it
};

inline constexpr absl::string_view kHookChain = "output";
// Before conntrack (-200) and before the raw table (-300), so that foreign rules there
// already see the packet as untracked.
inline constexpr NftHook kOutputHook{NF_INET_LOCAL_OUT, NF_IP_PRI_RAW - 10};

// The two chains of the IPVS bypass, present only while it is enabled. Tables of earlier
// builds, which are adopted, have these names.
inline constexpr absl::string_view kBypassChain = "ipvs_dodge";
inline constexpr absl::string_view kBypassBackChain = "ipvs_dodge_back";
// Right after the rules that add the packet's own addresses to the sets.
inline constexpr NftHook kBypassHook{NF_INET_LOCAL_OUT, kOutputHook.priority + 1};
// After the last hook of IPVS (99), before the socket lookup.
inline constexpr NftHook kBypassBackHook{NF_INET_LOCAL_IN, NF_IP_PRI_NAT_SRC + 50};

// The chain that notes whom target listeners have asked through a Service, present only while there
// are datagram targets.
inline constexpr absl::string_view kAskedChain = "asked";
// After source NAT: the packet has the addresses and ports that it arrives with.
inline constexpr NftHook kAskedHook{NF_INET_POST_ROUTING, NF_IP_PRI_NAT_SRC + 10};

// Since Linux 6.9, in no header of Debian 12: the table outlives its owner.
inline constexpr uint32_t kTableFlagPersist = 0x4;

inline constexpr absl::string_view kExemptedCounter = "exempted";

// Longer than any connection: the end of the connection removes the entry.
inline constexpr absl::Duration kTcpTimeout = absl::Hours(24 * 365);
// A UDP flow has no end that is visible here. As long as conntrack's longest timeout.
inline constexpr absl::Duration kUdpTimeout = absl::Hours(24 * 5);
// The end of a client that is not connected is not visible either, and it may use each of
// its ports once. Longer than conntrack's default for a stream.
inline constexpr absl::Duration kDatagramTimeout = absl::Minutes(3);
// After the end of a TCP connection, for the last ACK, retransmissions, and the RST that answers
// a late segment. A FIN that is repeated (on lo 0.2, 0.4, 0.8, 1.6 and 3.2 s later, if a filter
// drops it) passes the rules again and renews it. The shorter, the fewer entries a high rate of
// connections needs.
inline constexpr absl::Duration kClosedTimeout = absl::Seconds(5);
// For entries that must be gone before a SYN is repeated. The kernel rounds timeouts down to
// jiffies and lists them rounded: this is a whole number of jiffies with each HZ (100, 250, 300,
// 1000), so that the kernel lists the rules as they were built.
inline constexpr absl::Duration kForgottenTimeout = absl::Milliseconds(20);

enum class NftSetUse : uint8_t {
  // Tuples (source address, source port, destination address, destination port)
  // of replies that are exempt: one for each flow. (An earlier build may have left that
  // of the other direction of a TCP connection, too.)
  kFlows,
  // Tuples of the direction of a TCP connection that has sent the first FIN.
  kHalfClosed,
  // As kFlows, of clients that are not connected: neither their end nor further datagrams
  // can be foreseen.
  kDatagrams,
  // Tuples of answers that target listeners get from the endpoints of Services: conntrack must see
  // them, to give them the address of the Service again.
  kAsked,
  // The destinations of core::DatagramTargets, to which datagrams are exempt. Only the
  // controller changes these sets. All ports of the two sets that follow:
  kTargetPorts,
  // Ports of any address of 127.0.0.0/8,
  kLoopbackTargets,
  // and pairs (address, port).
  kTargets,
};

// The size of a set of tuples or pairs,
inline constexpr uint32_t kSetSize = 65536;
// and of a set of tuples of TCP. A connection needs one element for kClosedTimeout after its end,
// and for about a second until the kernel frees expired elements: 120,000 for 20,000 connections
// per second.
inline constexpr uint32_t kTcpSetSize = 262144;

struct NftSetSpec {
  absl::string_view name;
  NftSetUse use;
  IpFamily family = IpFamily::kIpv4;  // of tuples
  uint8_t protocol = IPPROTO_TCP;     // of tuples

  uint32_t key_type() const;  // the nft program's number of the data type, for printing
  uint32_t key_length() const;
  // The time that an entry gets when it is added or refreshed.
  absl::Duration timeout() const {
    if (use == NftSetUse::kDatagrams || use == NftSetUse::kAsked) return kDatagramTimeout;
    return protocol == IPPROTO_UDP ? kUdpTimeout : kTcpTimeout;
  }
  bool has_ports_only() const {
    return use == NftSetUse::kTargetPorts || use == NftSetUse::kLoopbackTargets;
  }
  // True if the entries are tuples of exempt flows.
  bool has_flows() const {
    return use == NftSetUse::kFlows || use == NftSetUse::kHalfClosed ||
           use == NftSetUse::kDatagrams;
  }
  // True if rules add the entries, which expire; only the controller changes other sets.
  bool dynamic() const { return has_flows() || use == NftSetUse::kAsked; }
  uint32_t flags() const { return dynamic() ? NFT_SET_TIMEOUT | NFT_SET_EVAL : 0; }
  // The number of elements that fit; `tuples` replaces that of a set of tuples or pairs.
  uint32_t size(std::optional<uint32_t> tuples = std::nullopt) const {
    if (has_ports_only()) return kPortsSize;
    return tuples.value_or(has_flows() && protocol == IPPROTO_TCP ? kTcpSetSize : kSetSize);
  }

  // One for every port number: never full.
  static constexpr uint32_t kPortsSize = 65536;
};

inline constexpr std::array<NftSetSpec, 14> kNftSets{{
    {"tcp4", NftSetUse::kFlows, IpFamily::kIpv4, IPPROTO_TCP},
    {"tcp6", NftSetUse::kFlows, IpFamily::kIpv6, IPPROTO_TCP},
    {"half4", NftSetUse::kHalfClosed, IpFamily::kIpv4, IPPROTO_TCP},
    {"half6", NftSetUse::kHalfClosed, IpFamily::kIpv6, IPPROTO_TCP},
    {"udp4", NftSetUse::kFlows, IpFamily::kIpv4, IPPROTO_UDP},
    {"udp6", NftSetUse::kFlows, IpFamily::kIpv6, IPPROTO_UDP},
    {"datagrams4", NftSetUse::kDatagrams, IpFamily::kIpv4, IPPROTO_UDP},
    {"datagrams6", NftSetUse::kDatagrams, IpFamily::kIpv6, IPPROTO_UDP},
    {"asked4", NftSetUse::kAsked, IpFamily::kIpv4, IPPROTO_UDP},
    {"asked6", NftSetUse::kAsked, IpFamily::kIpv6, IPPROTO_UDP},
    {"target_ports", NftSetUse::kTargetPorts},
    {"targets_any4", NftSetUse::kLoopbackTargets},
    {"targets4", NftSetUse::kTargets, IpFamily::kIpv4, IPPROTO_UDP},
    {"targets6", NftSetUse::kTargets, IpFamily::kIpv6, IPPROTO_UDP},
}};

// What the rules depend on.
struct NftRuleFacts {
  core::Mark mark{};
  // Of an earlier run, while its programs still set it.
  std::optional<core::Mark> former_mark = std::nullopt;
  // Other ports than those of the blocks are no server's of an exempt flow.
  core::PortBlocks blocks = core::PortBlocks::All();
  // The chains that the table has only at times: kBypassChain and kBypassBackChain,
  bool ipvs_bypass = false;
  bool asked = false;  // and kAskedChain.
};

std::vector<NftChain> MakeChains(const NftRuleFacts& facts);

// The expressions of a rule, one line each: equal for a rule as built and as the kernel
// lists it.
std::string RuleText(const nftnl_rule& rule);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_RULES_H_
