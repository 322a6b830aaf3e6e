// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_PORT_OVERLAP_H_
#define NODEPORT_GUARD_CORE_PORT_OVERLAP_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/port_ranges.h"

namespace npg::core {

// What the ports that the kernel assigns have in common with NodePorts.
struct OverlapInput {
  PortRange local;                  // net.ipv4.ip_local_port_range
  PortRanges reserved;              // net.ipv4.ip_local_reserved_ports
  std::vector<uint16_t> allocated;  // NodePorts and healthCheckNodePorts, of any protocol
  std::vector<uint16_t> listeners;  // TCP listeners that asked for any port: their numbers
};

// The one setting that ends the overlap.
enum class OverlapAdvice {
  kNone,         // there is no overlap
  kReserve,      // net.ipv4.ip_local_reserved_ports: `ranges`
  kReserveFlag,  // run --reserve-ports allocated: the list is too long for a command
  kMoveRange,    // net.ipv4.ip_local_port_range: reserving would leave too few ports
};

struct PortOverlap {
  PortRange local;       // net.ipv4.ip_local_port_range
  size_t automatic = 0;  // ports that the kernel assigns
  size_t allocated = 0;  // of these, those that are NodePorts now
  size_t usual = 0;      // of these, those of the usual range of NodePorts (kUsualNodePorts)
  size_t listeners = 0;  // on automatic ports
  // The probability that at least one of `listeners` would get an allocated NodePort if all were
  // bound anew, and that the next Service gets the number of one of them. See port_overlap.cc for
  // how the kernel and the API server pick.
  double collision = 0;
  double next_service = 0;
  OverlapAdvice advice = OverlapAdvice::kNone;
  // kReserve: the whole of the sysctl, with what it has now. kMoveRange: the new range; none where
  // too little of `local` would be left, so that only another range of NodePorts helps.
  PortRanges ranges;
  size_t cost = 0;  // automatic ports that the advised setting takes away
};

PortOverlap JudgeOverlap(const OverlapInput& input);

// The widest part of `local` beside the range of NodePorts that has enough ports for a node with
// many connections; empty where there is none.
PortRanges RangeBeside(const PortRange& local, const PortRange& nodeports);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_PORT_OVERLAP_H_
