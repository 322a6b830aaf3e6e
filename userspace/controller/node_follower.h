// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_NODE_FOLLOWER_H_
#define NODEPORT_GUARD_CONTROLLER_NODE_FOLLOWER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "controller/datagram_keeper.h"
#include "core/datagram_targets.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"
#include "log/repeated_fault.h"
#include "node/node_addresses.h"

namespace npg::controller {

// Keeps programs and table in step with the node's addresses, its UDP listeners, and
// IPVS services on guarded addresses. Handles notifications (rtnetlink, binds, closed
// sockets) within milliseconds, the rest at Maintain().
class NodeFollower {
 public:
  struct Settings {
    abi::Mode mode = abi::Mode::kEnforce;
    abi::Scope scope = abi::Scope::kLoopback;
    core::AddressChoice local_addresses;
    // If set, addresses are followed whatever the scope, and it is called when own_addresses() has
    // changed.
    std::function<void()> own_addresses_changed;
  };

  // All outlive this; `ports` returns the guarded ports.
  NodeFollower(base::EventLoop& loop, dataplane::BpfGuard& guard, dataplane::NftTable& table,
               const core::DesiredState& ports, Settings settings);
  NodeFollower(const NodeFollower&) = delete;
  NodeFollower& operator=(const NodeFollower&) = delete;

  // For a start, in this order: before the programs are attached, after it, and
  // when the loop is about to run. An error of the first and the last ends it.
  absl::Status Prepare();
  void Begin(const core::OwnerRules& rules);  // which outlives this
  absl::Status Follow();

  // The ports, or UDP listeners on them, have changed.
  void PortsChanged();
  // A bind is about to happen, or has; or a connect of a bound UDP socket.
  void BindNoted();
  void OwnersChanged();

  // For NftTable::Guard(): the table could not be restored, or was.
  void TableLost();
  void TableRestored() { PortsChanged(); }

  // The traffic for which the guard stands aside: its datagrams are not exempted either, from
  // the next change or OwnersChanged() on.
  void SetStandingAside(abi::TrafficBits traffic) { aside_ = traffic; }

  void Maintain();

  // All addresses of the node besides loopback, whatever the scope: connections to
  // them may be exempt since an earlier run.
  const core::AddressSet& addresses() const { return addresses_; }
  // Those of them that are guarded.
  const core::AddressSet& guarded_addresses() const { return guarded_; }

  // Those that --scope local guards, whatever the scope is.
  const core::AddressSet& own_addresses() const { return own_; }

  // The destinations to which datagrams are exempt.
  core::DatagramTargets datagram_targets() const {
    return datagrams_ ? datagrams_->targets() : core::DatagramTargets();
  }

 private:
  absl::Status SyncAddresses();
  void LogLeftOut(const std::vector<core::LeftOutAddress>& left_out);
  absl::Status SyncDatagrams(bool verify = false);
  void AddressesSoon();
  absl::Duration Settle() const;

  base::EventLoop& loop_;
  dataplane::BpfGuard& guard_;
  dataplane::NftTable& table_;
  const core::DesiredState& ports_;
  const Settings settings_;
  abi::TrafficBits aside_ = 0;

  core::AddressSet addresses_;
  core::AddressSet own_;      // see own_addresses()
  core::AddressSet guarded_;  // the guarded ones among them
  std::string left_out_;      // the rest, as last logged
  bool left_out_logged_ = false;
  std::optional<DatagramKeeper> datagrams_;
  std::unique_ptr<base::NetlinkMonitor> address_watch_;
  base::EventLoop::TimerId datagrams_timer_ = 0;  // 0 = not armed
  base::EventLoop::TimerId later_timer_ = 0;
  base::EventLoop::TimerId addresses_timer_ = 0;
  uint64_t last_look_ = 0;  // at UDP listeners or addresses; CLOCK_BOOTTIME
  log::RepeatedFault datagrams_fault_{"exempt datagrams of sockets that are not connected"};
  log::RepeatedFault ipvs_fault_{"look for IPVS services on guarded addresses"};
  log::RepeatedFault addresses_fault_{"follow the node's addresses"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_NODE_FOLLOWER_H_
