// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_NODE_ADDRESS_H_
#define NODEPORT_GUARD_CORE_NODE_ADDRESS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/listener.h"

// Which addresses of the node --scope local guards. Load balancers, node-local DNS and IPVS also
// put addresses of Services on interfaces. kube-proxy sends a connect to (address of a Service,
// port of that Service) to that Service, even where the number is the NodePort of another Service
// and a process listens on 0.0.0.0. The guard must not exempt such a connect, so it takes an
// address only if nothing suggests that it belongs to a Service.

namespace npg::core {

// An address on an interface of the node, and what the judgement needs to know of both.
struct NodeAddress {
  std::array<uint8_t, 16> address{};  // network order, IPv4 as v4-mapped IPv6
  uint8_t prefix = 0;                 // bits, of 32 for IPv4
  bool deprecated = false;            // IFA_F_DEPRECATED
  bool tentative = false;             // IFA_F_TENTATIVE or IFA_F_DADFAILED
  uint32_t ifindex = 0;
  std::string interface;  // its name; empty: the interface is gone
  std::string kind;       // IFLA_INFO_KIND: "dummy", "veth"; empty for hardware and lo
  bool loopback = false;  // IFF_LOOPBACK: the interface is lo
};

enum class AddressRole {
  kNode,              // the node's own: guarded
  kServiceInterface,  // on an interface that other programs make for addresses of Services
  kDummy,             // on an interface of the kind dummy
  kLoopback,          // on lo
  kBesideSubnet,      // a host prefix (/32, /128) on an interface that has a subnet address
  kSeveralHosts,      // one of several host prefixes on an interface without a subnet address
  kDeprecated,
  kTentative,  // duplicate address detection runs, or failed; or the interface is gone
  kLinkLocal,  // IPv6: needs an interface, which a program at connect() does not know
  kNotNamed,   // the node's own, but --local-address names others
};

// Why it has that role: "the interface is of the kind dummy".
absl::string_view Meaning(AddressRole role);

// "192.0.2.0/24", or one address.
struct AddressRange {
  std::array<uint8_t, 16> address{};  // network order, IPv4 as v4-mapped IPv6
  uint8_t prefix = 128;               // bits of those 128
  bool Contains(const std::array<uint8_t, 16>& other) const;
};

// INVALID_ARGUMENT: no address or CIDR, or one that cannot be an address to guard.
absl::StatusOr<AddressRange> ParseAddressRange(absl::string_view text);

// The flag --local-address.
struct AddressChoice {
  bool given = false;
  bool add = true;  // to the addresses that are found; otherwise, instead of them
  std::vector<AddressRange> ranges;
};

// "192.0.2.7", "2001:db8::/64". A list whose first value begins with "+" adds.
absl::StatusOr<AddressChoice> ParseAddressChoice(const std::vector<std::string>& values);

struct LeftOutAddress {
  std::array<uint8_t, 16> address{};
  std::string interface;
  AddressRole role = AddressRole::kNode;
};

struct JudgedAddresses {
  std::vector<LocalAddress> own;         // sorted
  std::vector<LeftOutAddress> left_out;  // sorted by address; without link-local ones
};

// The role of each address, among all addresses of the node.
std::vector<AddressRole> RolesOf(const std::vector<NodeAddress>& addresses);

// `choice` selects among the addresses that the node has; it cannot select link-local ones.
JudgedAddresses JudgeAddresses(const std::vector<NodeAddress>& addresses,
                               const AddressChoice& choice);

// Those that are not in `guarded`, the addresses that a guard has, with the reasons.
std::vector<LeftOutAddress> LeftOutOf(const std::vector<NodeAddress>& addresses,
                                      const AddressSet& guarded);

// "192.0.2.7 on lo (the interface is lo), 10.96.0.10 on …, and 7 more": `max` of them.
std::string LeftOutText(const std::vector<LeftOutAddress>& left_out, size_t max);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_NODE_ADDRESS_H_
