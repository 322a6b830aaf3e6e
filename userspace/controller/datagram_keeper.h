// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_DATAGRAM_KEEPER_H_
#define NODEPORT_GUARD_CONTROLLER_DATAGRAM_KEEPER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "base/event_loop.h"
#include "base/netlink_monitor.h"
#include "core/datagram_targets.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {

// Keeps the nft table's datagram targets in step with the UDP listeners there
// are. Datagrams of sockets that are not connected pass no program, so what is
// exempt has to be known before they are sent.
class DatagramKeeper {
 public:
  // All of these outlive this. `closed` is called when a listener that is a
  // target may be gone, so that Sync() may be.
  DatagramKeeper(base::EventLoop& loop, dataplane::BpfGuard& guard, dataplane::NftTable& table,
                 const core::OwnerPolicy& policy, std::function<void()> closed)
      : loop_(loop), guard_(guard), table_(table), policy_(policy), closed_(std::move(closed)) {}

  // Looks at the UDP sockets there are: about a millisecond, and nothing where
  // no port of `ports` is UDP.
  absl::Status Sync(const core::PortEntries& ports, const core::AddressSet& own);

 private:
  absl::StatusOr<core::DatagramTargets> Find(const core::PortEntries& ports,
                                             const core::AddressSet& own) const;
  absl::Status Watch(const core::DatagramTargets& targets);

  base::EventLoop& loop_;
  dataplane::BpfGuard& guard_;
  dataplane::NftTable& table_;
  const core::OwnerPolicy& policy_;
  std::function<void()> closed_;
  absl::flat_hash_set<uint16_t> ports_;  // of the targets
  std::unique_ptr<base::NetlinkMonitor> watch_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_DATAGRAM_KEEPER_H_
