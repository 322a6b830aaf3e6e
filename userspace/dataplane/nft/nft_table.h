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
#include "core/port_blocks.h"

namespace npg::dataplane {

inline constexpr absl::string_view kNftTableName = "nodeport_guard";

// The capacity, in flows, of the smallest set of flows; there is one set for each protocol and
// address family. While there are fewer in total, no set is full. The sets of TCP hold four times
// as many.
inline constexpr uint32_t kFlowsPerSet = 65536;

// The table in the kernel, read without owning it.
struct NftTableState {
  bool present = false;           // the table and its hook chain exist
  uint32_t owner_portid = 0;      // netlink port id of the owner; 0 = none
  uint64_t exempted_packets = 0;  // of the counter "exempted"
  uint32_t flow_entries = 0;      // elements in the flow sets
  // Connections and UDP exchanges with these entries, also those of the last seconds. Counts a
  // connection twice if a build before the upgrade entered both of its directions.
  uint32_t flows = 0;
  uint32_t datagram_ports = 0;      // to which all datagrams are exempt
  bool ipvs_bypass = false;         // see NftTable::SetIpvsBypass()
  core::DatagramTargets targets{};  // see NftTable::SetDatagramTargets()
};

// Builds, owns and maintains the table inet nodeport_guard of this network namespace.
// docs/design/nft-table.md has the rules and their reasons.
class NftTable {
 public:
  // Builds the table in one transaction, or adopts an existing one: replaces its rules,
  // keeps its flow entries and its counter. On kernels >= 6.9 (NFT_TABLE_F_OWNER |
  // NFT_TABLE_F_PERSIST) no other process can remove it while this object lives; it
  // stays after that. PERMISSION_DENIED without CAP_NET_ADMIN or when another process owns
  // the table, UNIMPLEMENTED if the kernel lacks nf_tables. Packets with the mark `former`
  // are exempt, too: the attached programs set it until they are replaced. Without `own`,
  // other processes can change and remove the table on every kernel, so that a saved rule
  // set that contains it can be loaded.
  static absl::StatusOr<std::unique_ptr<NftTable>> Install(
      core::Mark mark, std::optional<core::Mark> former = std::nullopt, bool own = true);

  virtual ~NftTable() = default;

  // True when the kernel protects the table from other processes.
  virtual bool owned() const = 0;

  // True when Install() found a table and adopted it.
  virtual bool adopted() const = 0;

  // Call it when no program sets Install()'s former mark any more. The flow entries keep
  // exempting the connections that have it.
  virtual absl::Status ForgetFormerMark() = 0;

  // Adds the missing entries of the flows that `live_flows` returns, which `restored` does
  // not report. Then watches the table, and restores it as soon as another process changes or
  // removes it, with the entries of these flows. Calls `restored` with OK after each repair, or
  // with its error.
  virtual absl::Status Guard(base::EventLoop& loop,
                             std::function<std::vector<core::Flow>()> live_flows,
                             std::function<void(const absl::Status&)> restored) = 0;

  // Makes the flow sets agree with the sockets: adds missing entries of `live`
  // (node::ListExemptFlows), and removes those that no socket of `live` or `connected`
  // (node::ListLocalFlows: a client may have lost its mark since) uses any more. The
  // rules do both for most packets; this handles what they cannot see (a full set that has
  // room again, a UDP client that closed, a restored table). Keeps entries younger than a
  // few seconds, because the lists may be older. RESOURCE_EXHAUSTED when a set is full;
  // all else was done.
  virtual absl::Status Reconcile(const std::vector<core::Flow>& live,
                                 const std::vector<core::Flow>& connected) = 0;

  // Exempts all datagrams to `targets`, whether the socket is connected, marked, or neither, and
  // by their destination no others. Leaves out the answers to what a target's listener has asked a
  // Service from its own socket: conntrack needs them. Holds until the next call, also when another
  // process empties the sets and when the table is restored. Until the first call, an adopted table
  // keeps its targets.
  virtual absl::Status SetDatagramTargets(const core::DatagramTargets& targets) = 0;

  // From now on, packets from and to the ports of `blocks` are considered, too. Only a flow whose
  // server has one of the ports that are considered can be exempt: call it before the programs
  // know a port of another block. The blocks of a new table are those of PortBlocks::Default(); an
  // adopted one considers every port.
  virtual absl::Status Cover(core::PortBlocks blocks) = 0;
  // From now on, only packets from and to the ports of `blocks` are considered, and of the blocks
  // of the servers of flows that are in the sets. Lists them if the blocks would change.
  virtual absl::Status CoverOnly(core::PortBlocks blocks) = 0;

  // Gives exempt packets another destination while they pass the hooks of IPVS, which
  // would otherwise take those to its services on the node's addresses. Holds like the
  // targets; an adopted table keeps its state until the first call.
  virtual absl::Status SetIpvsBypass(bool wanted) = 0;
  virtual bool ipvs_bypass() const = 0;

  // True when the sets of flows have no entries except those of `probes`, the ports of
  // the self-probe: then Reconcile() has nothing to do. Cheaper than the lists of sockets.
  virtual absl::StatusOr<bool> Quiet(absl::Span<const uint16_t> probes) = 0;

  // Whether the entry of this flow is in its flow set. The rules add it with the first exempt
  // packet, unless the set is full. False also when the table is gone.
  virtual absl::StatusOr<bool> Knows(const core::Flow& flow) = 0;

  // The counter "exempted": packets that left without conntrack because they
  // carried the mark. NOT_FOUND when the table or the counter is gone.
  virtual absl::StatusOr<uint64_t> ExemptedPackets() = 0;

  // Removes the table. For a failed start and for `unload`.
  virtual absl::Status Remove() = 0;
};

// Reads the state. Not an error when there is no table.
absl::StatusOr<NftTableState> ReadNftTable();

// Removes the table if it is there. PERMISSION_DENIED when a live process owns it.
absl::Status RemoveNftTable();

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_NFT_NFT_TABLE_H_
