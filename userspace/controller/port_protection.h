// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PORT_PROTECTION_H_
#define NODEPORT_GUARD_CONTROLLER_PORT_PROTECTION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "controller/bind_follower.h"
#include "controller/bind_keeper.h"
#include "controller/controller.h"
#include "controller/node_follower.h"
#include "controller/paced_task.h"
#include "controller/ports_keeper.h"
#include "controller/reserve_keeper.h"
#include "core/desired_state.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/repeated_fault.h"

namespace npg::controller {

// Where net.ipv4.ip_local_reserved_ports can be written.
std::vector<std::string> ReservedPortsPathsOf(const Options& options);

// Keeps processes from getting allocated NodePorts: reserved ports and bind protection. Follows the
// ports and the node's addresses, and logs what bind protection did.
class PortProtection {
 public:
  // All outlive this.
  PortProtection(base::EventLoop& loop, dataplane::BpfGuard& guard, const Options& options,
                 const PortsKeeper& ports, const NodeFollower& node);
  ~PortProtection();
  PortProtection(const PortProtection&) = delete;
  PortProtection& operator=(const PortProtection&) = delete;

  // For a start, in this order: before the programs are attached, after it, and when the loop is
  // about to run. An error of the first ends it.
  absl::Status Prepare();
  void Begin();
  void Follow();

  // Before the map `nodeports` is changed, and after it, or after the facts of a source changed.
  void PortsChanging(const core::Difference& difference);
  void PortsChanged();
  void AddressesChanged();

  // At regular intervals.
  void Maintain(absl::Time now);

  // For the log: "; reserving 7 ports; refusing binds of 12 NodePorts". Empty when both are off.
  std::string text() const;

 private:
  bool binds() const { return options_.bind_protection != abi::BindProtection::kOff; }
  bool reserves() const { return options_.reserve_ports != abi::ReservePorts::kOff; }

  core::PortRanges WantedReservations() const;
  void SyncReserved();
  void SyncBinds();
  absl::Status SyncAddresses();
  void FollowBinds();
  // Writes the map `protection` if something in it changed.
  void WriteState(absl::Time now);

  base::EventLoop& loop_;
  dataplane::BpfGuard& guard_;
  const Options& options_;
  const PortsKeeper& ports_;
  const NodeFollower& node_;
  const bool loopback_assumed_;
  bool begun_ = false;

  std::optional<ReserveKeeper> reserve_;
  BindKeeper bind_;
  bool bind_failed_ = false;  // SyncBinds(), the last time
  PacedTask reserve_task_;
  PacedTask bind_task_;
  base::EventLoop::TimerId again_timer_ = 0;  // 0 = not armed
  std::unique_ptr<BindFollower> binds_;

  std::optional<abi::Protection> written_;
  log::RepeatedFault bind_fault_{"protect NodePorts from being bound"};
  log::RepeatedFault exceptions_fault_{"follow the exceptions of bind protection"};
  log::RepeatedFault addresses_fault_{"tell bind protection the node's addresses"};
  log::RepeatedFault state_fault_{"write the state of port protection"};
  log::RepeatedFault binds_fault_{"log binds of NodePorts"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PORT_PROTECTION_H_
