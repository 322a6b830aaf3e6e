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
#include "dataplane/nft/nft_rules.h"
#include "dataplane/nft/nft_snapshot.h"
#include "dataplane/nft/nft_table.h"

namespace npg::dataplane {

struct NftSettings {
  core::Mark mark;
  // What the programs of an earlier run set, until they are replaced.
  std::optional<core::Mark> former_mark = std::nullopt;
  uint32_t set_size = kSetSize;
  bool own = true;  // ask the kernel to protect the table; false as on kernels < 6.9
  // NftTable::SetIpvsBypass(); without a value, as it is in the table that is there.
  std::optional<bool> ipvs_bypass = std::nullopt;
};

struct NftInstalled {
  bool owned = false;    // the kernel protects the table while `socket` is open
  bool adopted = false;  // there was a table before
  bool ipvs_bypass = false;
};

// Makes the table what `settings` say, in one transaction on `socket`, which
// becomes its owner.
//
// A table that is there is adopted: all rules are replaced, chains, sets and
// objects that are none of ours go, our sets keep their entries and the counter
// goes on counting. A set of another size, or a table whose flags cannot be
// changed in place (made without owner on a kernel that can protect it, as a
// restored dump is; or dormant), is made anew with a copy of the entries. A set
// with another kind of key, of a build with another layout, starts empty: its
// flows come back with their next marked packet, or by Reconcile().
absl::StatusOr<NftInstalled> InstallTable(base::NetlinkSocket& socket, const NftSettings& settings);

// True when the table is what InstallTable() makes: flags, chains, rules, sets
// and the counter, whatever the entries are.
bool IsIntact(const NftSnapshot& snapshot, const NftSettings& settings, bool owned);

// Removes the table; OK when there is none.
absl::Status RemoveTable(base::NetlinkSocket& socket);

// NftTable::Install() with other settings, for tests.
absl::StatusOr<std::unique_ptr<NftTable>> InstallNftTable(const NftSettings& settings);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_INSTALL_H_
