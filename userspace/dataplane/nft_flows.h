// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_FLOWS_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_FLOWS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/netlink_socket.h"
#include "dataplane/nft_rules.h"
#include "dataplane/nft_snapshot.h"
#include "dataplane/nft_table.h"

namespace npg::dataplane {

// The keys of a flow's two entries, the client's direction first, as they are
// in the sets of its address family.
std::array<std::string, 2> FlowKeys(const Flow& flow);

// IPv4 when both addresses are v4-mapped.
IpFamily FlowFamily(const Flow& flow);

// Entries younger than this are left alone: the lists of sockets may be older.
inline constexpr absl::Duration kYoung = absl::Seconds(5);

struct NftSetChange {
  std::vector<NftElement> add;
  std::vector<std::string> remove;
  size_t no_room = 0;  // entries that are missing and would not fit
};

// What makes the entries of a set agree with the sockets: see NftTable::Reconcile().
// Of a half-closed set entries are only removed.
NftSetChange CompareFlows(const NftSetSpec& set, uint32_t size,
                          const std::vector<NftElement>& elements, const std::vector<Flow>& live,
                          const std::vector<Flow>& connected);

// Applies it in transactions of bounded size. NOT_FOUND when an entry to be
// removed was gone already, which undoes the transaction.
absl::Status ApplyChange(base::NetlinkSocket& socket, const NftSetSpec& set,
                         const NftSetChange& change);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_FLOWS_H_
