// SPDX-License-Identifier: Apache-2.0
#include <cstddef>

#include "abi/entries.h"
#include "abi/names.h"
#include "core/port_overlap.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"
#include "serve/metric_families.h"
#include "serve/metrics.h"

namespace npg::serve {
namespace {

void AddOverlap(const core::PortOverlap& overlap, MetricFamilies& out) {
  const auto add = [&out](size_t count) { out.Add(static_cast<double>(count)); };
  out.Gauge("automatic_ports", "Ports that the kernel assigns to sockets that ask for any port.");
  add(overlap.automatic);
  out.Gauge("automatic_ports_allocated", "Of these, ports that are NodePorts now.");
  add(overlap.allocated);
  out.Gauge("automatic_port_listeners", "TCP listeners that asked for any port, by their ports.");
  add(overlap.listeners);
  out.Gauge("collision_probability",
            "Probability that one of these listeners would get an allocated NodePort if all were "
            "bound anew.");
  out.Add(overlap.collision);
  out.Gauge("next_service_collision_probability",
            "Probability that the next NodePort of a Service is the port of one of these "
            "listeners.");
  out.Add(overlap.next_service);
}

void AddReserved(const abi::Protection& protection, MetricFamilies& out) {
  out.Gauge("reserve_state", "1 for the state that reserved ports are in, 0 for the others.");
  for (const auto& row : abi::kReserveStates) {
    out.Add(row.value == protection.reserve_state ? 1 : 0, {Label("state", row.name)});
  }
  out.Gauge("reserved_ports", "Ports that the controller added to ip_local_reserved_ports.");
  out.Add(static_cast<double>(protection.reserved_ports));
}

}  // namespace

void AddProtectionMetrics(const MetricsInput& input, MetricFamilies& out) {
  if (!input.node.ok() || *input.node == nullptr) return;
  const inspect::Status& status = **input.node;
  if (status.facts.overlap) AddOverlap(*status.facts.overlap, out);
  AddReserved(status.facts.protection, out);
  out.Gauge("refusable_ports",
            "NodePorts whose bind bind protection may refuse or report; 0 where it is off.");
  out.Add(static_cast<double>(status.refusable));
}

}  // namespace npg::serve
