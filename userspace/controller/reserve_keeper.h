// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_RESERVE_KEEPER_H_
#define NODEPORT_GUARD_CONTROLLER_RESERVE_KEEPER_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/port_ranges.h"
#include "core/reserved_plan.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/reserved_map.h"
#include "log/repeated_fault.h"

namespace npg::controller {

// Keeps net.ipv4.ip_local_reserved_ports of this network namespace equal to what the administrator
// has there and the wanted ports among those that the kernel assigns. Keeps the administrator's
// part, also when it is changed meanwhile. Logs when it reserves nothing although it should.
class ReserveKeeper {
 public:
  struct Settings {
    abi::ReservePorts mode = abi::ReservePorts::kOff;  // kOff: removes what an earlier run added
    std::vector<std::string> paths;  // of the sysctl, see node::ReservedPortsPaths()
    std::string proc = "/proc";      // has sys/net/ipv4/ip_local_port_range
  };
  struct State {
    abi::ReserveState state = abi::ReserveState::kOff;
    size_t ports = 0;   // that the controller has added
    std::string error;  // of kFailed, one line with a remedy

    bool operator==(const State&) const = default;
  };

  ReserveKeeper(Settings settings, dataplane::ReservedMap map);

  // Adds what is missing of `wanted` at once. Removes what is no longer wanted with Maintain(), and
  // only if `complete`: all sources were read.
  void Sync(const core::PortRanges& wanted, bool complete, absl::Time now);

  // Every few seconds: takes over changes of others, removes, and tries again what has failed.
  void Maintain(absl::Time now);

  const State& state() const { return state_; }

 private:
  bool on() const { return settings_.mode != abi::ReservePorts::kOff; }
  // Whether `maintain` may remove what is no longer wanted.
  bool MayRemove(absl::Time now) const;
  void Follow(bool maintain, absl::Time now);
  absl::Status TryFollow(bool maintain, absl::Time now);
  absl::StatusOr<core::PortRange> LocalRange() const;
  void Fail(const absl::Status& status);

  Settings settings_;
  dataplane::ReservedMap map_;
  core::PortRanges wanted_;
  bool complete_ = false;
  // The map as this keeper left it; nullopt after a start and after an error.
  std::optional<dataplane::ReservedMap::Content> notes_;
  absl::Time removed_ = absl::InfinitePast();  // when ports were last removed
  bool too_few_ = false;
  State state_;
  log::RepeatedFault fault_{"reserve NodePorts"};
};

// For `unload`: removes from the sysctl of this network namespace what the map has as added by a
// controller. Returns how many ports that were; 0 also when nothing is pinned.
absl::StatusOr<size_t> RestoreReservedPorts(const dataplane::PinPaths& pins,
                                            const std::vector<std::string>& paths);

// Whether the map has ports that a controller has added, in whichever network namespace it was.
bool HasReservedPorts(const dataplane::PinPaths& pins);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_RESERVE_KEEPER_H_
