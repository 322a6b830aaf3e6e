// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_ELEMENTS_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_ELEMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"
#include "dataplane/nft/nft_batch.h"

namespace npg::dataplane {

// An entry of one of the table's sets.
struct NftElement {
  std::string key;
  uint64_t timeout_ms = 0;  // 0: none
  uint64_t expires_ms = 0;  // from the time of reading
};

// The entries of the set. The kernel walks it while packets change it, so an entry may
// be listed twice or not at all. NOT_FOUND when there is no such set.
absl::StatusOr<std::vector<NftElement>> ReadNftElements(base::NetlinkSocket& socket,
                                                        absl::string_view set);

// Whether the set has the entry. False also when there is no such set.
absl::StatusOr<bool> HasNftElement(base::NetlinkSocket& socket, absl::string_view set,
                                   const std::string& key);

// Append messages that add the entries to the set (an existing one stays unchanged), or
// remove them from it (a missing one fails the batch).
void AddElements(NftBatch& batch, absl::string_view set, const std::vector<NftElement>& elements);
void DeleteElements(NftBatch& batch, absl::string_view set, const std::vector<std::string>& keys);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_ELEMENTS_H_
