// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_SNAPSHOT_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_SNAPSHOT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/netlink_socket.h"

namespace npg::dataplane {

// The table inet nodeport_guard in the kernel, at one generation of the rule set,
// without the elements of its sets.
struct NftSnapshot {
  struct Chain {
    bool hooked = false;  // a base chain; what follows is of base chains
    uint32_t hook = 0;
    int32_t priority = 0;
    uint32_t policy = 0;
    std::string type;
    bool anonymous = false;          // belongs to a rule and is removed with it
    std::vector<std::string> rules;  // RuleText() of each, in order
  };
  struct Set {
    uint32_t key_type = 0;
    uint32_t key_length = 0;
    uint32_t flags = 0;  // NFT_SET_*
    uint32_t size = 0;
  };
  struct Object {
    uint32_t type = 0;                // NFT_OBJECT_*
    uint64_t packets = 0, bytes = 0;  // of a counter
  };

  uint32_t generation = 0;
  bool present = false;
  uint32_t flags = 0;  // NFT_TABLE_F_*
  uint32_t owner = 0;  // netlink port id; 0 = none
  absl::btree_map<std::string, Chain> chains;
  absl::btree_map<std::string, Set> sets;
  absl::btree_map<std::string, Object> objects;

  // True also if only one of its chains is present.
  bool HasIpvsBypass() const;
};

// The packets that a counter of the table counted. NOT_FOUND when there is none.
absl::StatusOr<uint64_t> ReadNftCounter(base::NetlinkSocket& socket, absl::string_view name);

// PERMISSION_DENIED without CAP_NET_ADMIN, UNIMPLEMENTED if the kernel has no nf_tables,
// UNAVAILABLE if other processes change the rule set without a pause.
absl::StatusOr<NftSnapshot> ReadNftSnapshot(base::NetlinkSocket& socket);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_SNAPSHOT_H_
