// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_FLOWS_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_FLOWS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/netlink_socket.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "dataplane/nft/nft_elements.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {

// The keys of a flow's two directions in the sets of its address family, the client's first.
// The rules enter the second one, that of the replies.
std::array<std::string, 2> FlowKeys(const core::Flow& flow);

// IPv4 when both addresses are v4-mapped.
IpFamily FlowFamily(const core::Flow& flow);

// Younger entries are kept: the lists of sockets may be older than they are.
inline constexpr absl::Duration kYoung = absl::Seconds(5);

struct NftSetChange {
  std::vector<NftElement> add;
  std::vector<std::string> remove;
  size_t no_room = 0;  // missing entries that do not fit
};

// The change that makes the entries of a set of tuples agree with the sockets: see
// NftTable::Reconcile(). A half-closed set only loses entries.
NftSetChange CompareFlows(const NftSetSpec& set, uint32_t size,
                          const std::vector<NftElement>& elements,
                          const std::vector<core::Flow>& live,
                          const std::vector<core::Flow>& connected);

// The port of a key in a set of ports; in host order.
uint16_t PortOf(absl::string_view key);

// The ports of a tuple in a set, the source first; in host order.
std::array<uint16_t, 2> TuplePorts(IpFamily family, absl::string_view tuple);

// The change that makes the entries of a controller-owned set equal to `targets`.
NftSetChange CompareTargets(const NftSetSpec& set, const std::vector<NftElement>& elements,
                            const core::DatagramTargets& targets);

// Adds the targets that the entries of a controller-owned set stand for. The set of all their
// ports adds none.
void AddTargets(const NftSetSpec& set, const std::vector<NftElement>& elements,
                core::DatagramTargets& targets);

// Applies it in transactions of bounded size. NOT_FOUND when an entry to remove no
// longer exists, which rolls the transaction back.
absl::Status ApplyChange(base::NetlinkSocket& socket, const NftSetSpec& set,
                         const NftSetChange& change);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_FLOWS_H_
