// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_FLOWS_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_FLOWS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/netlink_socket.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {

// The keys of a flow's two entries, the client's direction first, as they are
// in the sets of its address family.
std::array<std::string, 2> FlowKeys(const core::Flow& flow);

// IPv4 when both addresses are v4-mapped.
IpFamily FlowFamily(const core::Flow& flow);

// Entries younger than this are left alone: the lists of sockets may be older.
inline constexpr absl::Duration kYoung = absl::Seconds(5);
// A port may be wanted again between our look and its removal, which would cost
// a new flow its first replies. The longer nobody wanted it, the less likely.
inline constexpr absl::Duration kYoungPort = absl::Minutes(10);

struct NftSetChange {
  std::vector<NftElement> add;
  std::vector<std::string> remove;
  size_t no_room = 0;  // entries that are missing and would not fit
};

// What makes the entries of a set of tuples agree with the sockets: see
// NftTable::Reconcile(). Of a half-closed set entries are only removed.
NftSetChange CompareFlows(const NftSetSpec& set, uint32_t size,
                          const std::vector<NftElement>& elements,
                          const std::vector<core::Flow>& live,
                          const std::vector<core::Flow>& connected);

// The same for the set of ports: those of `used` (PortKeys() of the flow sets'
// entries, read after `elements`) and of the flows are to be there.
NftSetChange ComparePorts(const std::vector<NftElement>& elements,
                          const absl::flat_hash_set<std::string>& used,
                          const std::vector<core::Flow>& live,
                          const std::vector<core::Flow>& connected);

// The key that a port (host order) has in the set of ports.
std::string PortKey(uint16_t port);

// The keys that the two ports of a tuple have in the set of ports.
std::array<std::string, 2> PortKeys(IpFamily family, const std::string& tuple);

// What makes the entries of a set that the controller keeps those of `targets`.
NftSetChange CompareTargets(const NftSetSpec& set, const std::vector<NftElement>& elements,
                            const core::DatagramTargets& targets);

// Applies it in transactions of bounded size. NOT_FOUND when an entry to be
// removed was gone already, which undoes the transaction.
absl::Status ApplyChange(base::NetlinkSocket& socket, const NftSetSpec& set,
                         const NftSetChange& change);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_FLOWS_H_
