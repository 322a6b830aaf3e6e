// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_INSTALL_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_INSTALL_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/netlink_socket.h"
#include "core/mark.h"
#include "core/port_blocks.h"
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_snapshot.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {

struct NftSettings {
  core::Mark mark;
  // The mark that the programs of an earlier run set, until they are replaced.
  std::optional<core::Mark> former_mark = std::nullopt;
  // Of each set of tuples or pairs, for tests; without a value, that of NftSetSpec.
  std::optional<uint32_t> set_size = std::nullopt;
  bool own = true;  // ask the kernel to protect the table; false as on kernels < 6.9
  // NftTable::SetIpvsBypass(); without a value, as in the present table.
  std::optional<bool> ipvs_bypass = std::nullopt;
  // Whether there is kAskedChain; without a value, as in the present table.
  std::optional<bool> asked = std::nullopt;
  // The ports of servers; without a value, those that are usual for NodePorts for a new table, and
  // all for a present one: the flows that it knows may have any.
  std::optional<core::PortBlocks> blocks = std::nullopt;
};

struct NftInstalled {
  bool owned = false;    // the kernel protects the table while `socket` is open
  bool adopted = false;  // a table existed before
  bool ipvs_bypass = false;
  bool asked = false;
  core::PortBlocks blocks;
};

// Builds the table from `settings`, in one transaction on `socket`, which becomes its
// owner.
//
// Adopts an existing table: replaces all rules, removes foreign chains, sets and
// objects, and keeps the entries of our sets and the counter. Rebuilds, with a copy of
// the entries, a set of another size and a table whose flags cannot be changed in place
// (dormant; without an owner on a kernel that can protect it, like a restored dump; or
// with flags that `settings` does not want).
// A set with another key type, of a build with another layout, starts empty: its flows
// return with their next marked packet, or by Reconcile().
absl::StatusOr<NftInstalled> InstallTable(base::NetlinkSocket& socket, const NftSettings& settings);

// True when the table equals that of InstallTable(): flags, chains, rules, sets and the
// counter, but not the entries.
bool IsIntact(const NftSnapshot& snapshot, const NftSettings& settings, bool owned);

// Removes the table; OK when there is none.
absl::Status RemoveTable(base::NetlinkSocket& socket);

// NftTable::Install() with other settings, for tests.
absl::StatusOr<std::unique_ptr<NftTable>> InstallNftTable(const NftSettings& settings);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_INSTALL_H_
