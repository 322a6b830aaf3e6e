// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_INSPECT_PORT_OVERLAP_H_
#define NODEPORT_GUARD_INSPECT_PORT_OVERLAP_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/listener.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "core/port_ranges.h"

// The overlap of NodePorts and the ports that the kernel assigns, from the facts of a node.

namespace npg::inspect {

struct PortSysctls {
  core::PortRange local;      // net.ipv4.ip_local_port_range
  core::PortRanges reserved;  // net.ipv4.ip_local_reserved_ports
};
// Of this network namespace; nullopt where one cannot be read.
std::optional<PortSysctls> ReadPortSysctls();

// Whether a listener there may have got its port from the kernel.
bool MayBeAutomatic(const PortSysctls& sysctls, const core::PortKey& key);

// The ports that the kernel assigned to TCP listeners, by their records, or by core::GuessBinder()
// for one without.
std::vector<uint16_t> AssignedPorts(const core::PortRange& local,
                                    const std::vector<core::Listener>& listeners);

// `listeners`: those for which MayBeAutomatic() is true, with their records; others are left out.
core::PortOverlap JudgeOverlap(const PortSysctls& sysctls, std::vector<uint16_t> allocated,
                               const std::vector<core::Listener>& listeners);

}  // namespace npg::inspect

#endif  // NODEPORT_GUARD_INSPECT_PORT_OVERLAP_H_
