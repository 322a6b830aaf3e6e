// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/reserved_map.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/port_ranges.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/bpf/pinned_map.h"
#include "guard_abi.h"

namespace npg::dataplane {
namespace {

constexpr const char* kReservedPorts = "reserved_ports";

uint32_t ReservationOf(ReservedMap::Reservation reservation) {
  switch (reservation) {
    case ReservedMap::Reservation::kOurs:
      return NPG_RESERVATION_OURS;
    case ReservedMap::Reservation::kUnsure:
      return NPG_RESERVATION_UNSURE;
    case ReservedMap::Reservation::kAdmin:
      return NPG_RESERVATION_ADMIN;
  }
  return NPG_RESERVATION_UNSURE;
}

// Calls `each` with the key of every port.
template <typename Each>
absl::Status ForEachReserved(const core::PortRanges& ports, Each each) {
  for (const core::PortRange& range : ports) {
    for (uint32_t port = range.first; port <= range.last; ++port) {
      NPG_RETURN_IF_ERROR(each(npg_reserved_key{static_cast<uint16_t>(port), 0}));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ReservedMap> ReservedMap::Open(const PinPaths& pins) {
  absl::StatusOr<base::UniqueFd> map = OpenPin(pins.Map(kReservedPorts));
  if (!map.ok()) return map.status();
  return ReservedMap(*std::move(map));
}

absl::StatusOr<ReservedMap::Content> ReservedMap::Read() const {
  const auto entries = AllElements<npg_reserved_key, npg_reserved>(map_.get(), kReservedPorts);
  if (!entries.ok()) return entries.status();
  std::vector<uint16_t> ours;
  std::vector<uint16_t> unsure;
  std::vector<uint16_t> admin;
  for (const auto& [key, value] : *entries) {
    if (value.reservation == NPG_RESERVATION_OURS) {
      ours.push_back(key.port);
    } else if (value.reservation == NPG_RESERVATION_ADMIN) {
      admin.push_back(key.port);
    } else {
      unsure.push_back(key.port);
    }
  }
  return Content{core::ToRanges(ours), core::ToRanges(unsure), core::ToRanges(admin)};
}

absl::Status ReservedMap::Put(const core::PortRanges& ports, Reservation reservation) {
  const npg_reserved value{ReservationOf(reservation)};
  return ForEachReserved(ports, [&](const npg_reserved_key& key) {
    return PutElement(map_.get(), kReservedPorts, key, value);
  });
}

absl::Status ReservedMap::Remove(const core::PortRanges& ports) {
  return ForEachReserved(ports, [&](const npg_reserved_key& key) {
    return RemoveElement(map_.get(), kReservedPorts, key);
  });
}

}  // namespace npg::dataplane
