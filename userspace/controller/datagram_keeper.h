// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_DATAGRAM_KEEPER_H_
#define NODEPORT_GUARD_CONTROLLER_DATAGRAM_KEEPER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "core/datagram_targets.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"
#include "node/udp_close_watch.h"

namespace npg::controller {

// Keeps the datagram targets of the nft table and the programs equal to the node's UDP listeners.
// Datagrams of sockets that are not connected run no connect program, so the table
// must have their destinations before they are sent. Sockets that connect to a target need no
// mark, which they would also give to what they send elsewhere.
class DatagramKeeper {
 public:
  // All of these outlive this. `closed` is called when a target's listener may have
  // been closed; it should cause a Sync().
  DatagramKeeper(base::EventLoop& loop, dataplane::BpfGuard& guard, dataplane::NftTable& table,
                 const core::OwnerRules& rules, std::function<void()> closed)
      : loop_(loop), guard_(guard), table_(table), rules_(rules), closed_(std::move(closed)) {}

  // Lists the UDP sockets, which takes about a millisecond; does nothing when no
  // port of `ports` is UDP. Exempts datagrams of IPv4 and IPv6 as `v4` and `v6` say. Writes the
  // targets if they are not those of the last Sync() that succeeded; with `verify` also then, which
  // repairs what another process has changed.
  absl::Status Sync(const core::PortEntries& ports, const core::AddressSet& own, bool v4, bool v6,
                    bool verify);

  // The table may lack its targets: lets the programs mark sockets, until a Sync() has written the
  // targets again.
  absl::Status ForgetTargets();

  // As the last Sync() found them.
  const core::DatagramTargets& targets() const { return targets_; }

 private:
  absl::StatusOr<core::DatagramTargets> Find(const core::PortEntries& ports,
                                             const core::AddressSet& own) const;
  absl::Status Write(const core::DatagramTargets& targets);
  absl::Status Watch(const core::DatagramTargets& targets);

  base::EventLoop& loop_;
  dataplane::BpfGuard& guard_;
  dataplane::NftTable& table_;
  const core::OwnerRules& rules_;
  std::function<void()> closed_;
  core::DatagramTargets targets_;
  std::optional<core::DatagramTargets> written_;  // nullopt: not known
  absl::btree_set<uint16_t> ports_;               // that are watched
  std::unique_ptr<node::UdpCloseWatch> watch_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_DATAGRAM_KEEPER_H_
