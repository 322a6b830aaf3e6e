// SPDX-License-Identifier: Apache-2.0
#include "inspect/port_overlap.h"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "core/port_overlap.h"
#include "core/port_ranges.h"
#include "node/node_files.h"

namespace npg::inspect {
namespace {

bool IsTcpWithin(const core::PortRange& local, const core::PortKey& key) {
  return key.protocol == core::Protocol::kTcp && core::Contains({local}, key.port);
}

}  // namespace

std::optional<PortSysctls> ReadPortSysctls() {
  auto local = node::ReadLocalPortRange("/proc");
  auto reserved = node::ReadReservedPorts("/proc");
  if (!local.ok() || !reserved.ok()) return std::nullopt;
  return PortSysctls{*local, *std::move(reserved)};
}

bool MayBeAutomatic(const PortSysctls& sysctls, const core::PortKey& key) {
  return IsTcpWithin(sysctls.local, key);
}

std::vector<uint16_t> AssignedPorts(const core::PortRange& local,
                                    const std::vector<core::Listener>& listeners) {
  std::vector<uint16_t> ports;
  for (const core::Listener& listener : listeners) {
    if (!IsTcpWithin(local, listener.key)) continue;
    const core::Binder binder =
        listener.binder ? *listener.binder : core::GuessBinder(listener, local);
    if (binder.asked_port == 0) ports.push_back(listener.key.port);
  }
  return ports;
}

core::PortOverlap JudgeOverlap(const PortSysctls& sysctls, std::vector<uint16_t> allocated,
                               const std::vector<core::Listener>& listeners) {
  return core::JudgeOverlap({sysctls.local, sysctls.reserved, std::move(allocated),
                             AssignedPorts(sysctls.local, listeners)});
}

}  // namespace npg::inspect
