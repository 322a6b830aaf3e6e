// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_NFT_NFT_TABLE_H_
#define NODEPORT_GUARD_DATAPLANE_NFT_NFT_TABLE_H_

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/event_loop.h"
#include "core/datagram_targets.h"
#include "core/flow.h"
#include "core/mark.h"

namespace npg::dataplane {

inline constexpr absl::string_view kNftTableName = "nodeport_guard";

// Connections that fit into one set of flows; there is one for each protocol and
// address family. While there are fewer in all, none is full.
inline constexpr uint32_t kFlowsPerSet = 32768;

// What is in the kernel now; found without owning anything.
struct NftTableState {
  bool present = false;           // the table and its hook chain exist
  uint32_t owner_portid = 0;      // netlink port id of the owner; 0 = none
  uint64_t exempted_packets = 0;  // of the counter "exempted"
  uint32_t flow_entries = 0;      // elements in the flow sets
  uint32_t flows = 0;             // connections and UDP exchanges that these are of
  uint32_t datagram_ports = 0;    // on which datagrams of unconnected sockets are exempt
  bool ipvs_bypass = false;        // see NftTable::SetIpvsBypass()
};

// The table inet nodeport_guard of this network namespace: built, owned and
// kept there. See docs/design/nft-table.md for the rules and why each is there.
class NftTable {
 public:
  // Builds the table in one transaction, or adopts one that is there: its
  // rules are replaced, its flow entries and its counter live on. From then on
  // (kernels >= 6.9, NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST) nobody else can
  // remove it while this object lives, and it stays when the object goes.
  // PERMISSION_DENIED without CAP_NET_ADMIN or when another process owns the table,
  // UNIMPLEMENTED where the kernel lacks nf_tables. Packets with the mark `former` are exempt
  // as well: the programs that are attached set it until they are replaced.
  static absl::StatusOr<std::unique_ptr<NftTable>> Install(
      core::Mark mark, std::optional<core::Mark> former = std::nullopt);

  virtual ~NftTable() = default;

  // True when the kernel protects the table from others.
  virtual bool owned() const = 0;

  // True when Install() found a table and adopted it.
  virtual bool adopted() const = 0;

  // The programs that set Install()'s former mark are gone. Connections that they marked
  // go on by their flow entries.
  virtual absl::Status ForgetFormerMark() = 0;

  // Watches for somebody else's removal of, or tampering with, the table and
  // puts it back at once, with the entries of the flows that `live_flows`
  // reports; calls `restored` after each time (OK) or with why it failed.
  virtual absl::Status Guard(base::EventLoop& loop,
                             std::function<std::vector<core::Flow>()> live_flows,
                             std::function<void(const absl::Status&)> restored) = 0;

  // Makes the flow sets agree with the sockets there are: adds entries of
  // `live` (node::ListMarkedFlows) that are missing, removes those that no
  // socket uses any more, neither of `live` nor of `connected`
  // (node::ListLocalFlows: a client may have lost its mark since). The
  // kernel does both by itself; this catches what it cannot see (a full set
  // that has room again, a UDP client that closed, a table that was restored).
  // Entries younger than a few seconds are left alone, for the lists may be
  // older than they. RESOURCE_EXHAUSTED when a set is full; all else was done.
  virtual absl::Status Reconcile(const std::vector<core::Flow>& live,
                                 const std::vector<core::Flow>& connected) = 0;

  // Makes datagrams of sockets that are not connected exempt where `targets`
  // says, and nowhere else. Lasts until the next call, also when somebody else
  // empties the sets and when the table is restored. Until the first call, an
  // adopted table goes on with what it has.
  virtual absl::Status SetDatagramTargets(const core::DatagramTargets& targets) = 0;

  // Exempt packets are given another destination on their way past IPVS, which
  // would take them otherwise where it has services on the node's addresses. Lasts as the targets
  // do; an adopted table goes on with what it has until the first call.
  virtual absl::Status SetIpvsBypass(bool wanted) = 0;
  virtual bool ipvs_bypass() const = 0;

  // True when no set of flows has an entry but of `probes`, the ports of the
  // self-probe: since they were emptied, nothing was exempted, and Reconcile()
  // would find nothing to do. Cheap, where the lists of sockets are not.
  virtual absl::StatusOr<bool> Quiet(absl::Span<const uint16_t> probes) = 0;

  // The counter "exempted": packets that left without conntrack because they
  // carried the mark. NOT_FOUND when the table or the counter is gone.
  virtual absl::StatusOr<uint64_t> ExemptedPackets() = 0;

  // Removes the table. For a start that failed half way and for `unload`.
  virtual absl::Status Remove() = 0;
};

// Reads the state. Not an error when there is no table.
absl::StatusOr<NftTableState> ReadNftTable();

// Removes the table if it is there. PERMISSION_DENIED when a live process owns it.
absl::Status RemoveNftTable();

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_TABLE_H_
