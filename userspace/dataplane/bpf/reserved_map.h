// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_RESERVED_MAP_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_RESERVED_MAP_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/pin_paths.h"

namespace npg::dataplane {

// The map reserved_ports: which ports of net.ipv4.ip_local_reserved_ports the controller added.
// Outlives the controller, so that `unload` can restore what the administrator had.
class ReservedMap {
 public:
  // Opens the pin. NOT_FOUND when there is none.
  static absl::StatusOr<ReservedMap> Open(const PinPaths& pins);
  explicit ReservedMap(base::UniqueFd map) : map_(std::move(map)) {}

  struct Content {
    core::PortRanges ours, unsure, admin;  // by npg_reservation
  };
  absl::StatusOr<Content> Read() const;

  enum class Reservation { kOurs, kUnsure, kAdmin };
  absl::Status Put(const core::PortRanges& ports, Reservation reservation);
  absl::Status Remove(const core::PortRanges& ports);

 private:
  base::UniqueFd map_;
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_RESERVED_MAP_H_
