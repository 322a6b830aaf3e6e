// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_PORT_RANGES_H_
#define NODEPORT_GUARD_CORE_PORT_RANGES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::core {

inline constexpr uint32_t kMaxPort = 65535;

// Includes both ends.
struct PortRange {
  uint16_t first = 0;
  uint16_t last = 0;

  bool operator==(const PortRange&) const = default;
};

using PortRanges = std::vector<PortRange>;

// The default of the API server's --service-node-port-range.
inline constexpr PortRange kUsualNodePorts = {30000, 32767};

// Fewer ports that the kernel assigns are too few for a node with many connections.
inline constexpr size_t kFewestAutomaticPorts = 4096;

// Whether `left` of `before` ports that the kernel assigns are too few: where there were fewer than
// kFewestAutomaticPorts to begin with, half of them must be left.
bool LeavesTooFew(size_t before, size_t left);

// "8080,9000-9100", the format of net.ipv4.ip_local_reserved_ports; empty for none.
absl::StatusOr<PortRanges> ParsePortRanges(absl::string_view text);

// The reverse: sorted, and adjacent ranges are merged.
std::string PortRangesText(const PortRanges& ranges);

bool Contains(const PortRanges& ranges, uint16_t port);

// The ports of `range` that are not in `but`, merged.
PortRanges Without(const PortRange& range, const PortRanges& but);

// The ports of both `a` and `b`.
PortRanges Intersect(const PortRanges& a, const PortRange& b);
PortRanges Intersect(const PortRanges& a, const PortRanges& b);

// The ports of `a` that are not in `but`.
PortRanges Without(const PortRanges& a, const PortRanges& but);

// The ports of `a` and those of `b`, merged.
PortRanges Union(const PortRanges& a, const PortRanges& b);

// Sorted, and adjacent ranges are merged: equal sets of ports give equal ranges.
PortRanges Merged(PortRanges ranges);

// The number of ports, each counted once.
size_t CountPorts(const PortRanges& ranges);

// At most `most` ranges that contain all of these ports: fills the smallest gaps.
PortRanges Coarse(const PortRanges& ranges, size_t most);

// Ports, one by one, as ranges.
PortRanges ToRanges(const std::vector<uint16_t>& ports);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_PORT_RANGES_H_
