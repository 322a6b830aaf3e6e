// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PROBE_LOSSES_H_
#define NODEPORT_GUARD_CONTROLLER_PROBE_LOSSES_H_

#include <cstdint>
#include <optional>

// Packets of the self-probe that the kernel dropped for want of room, which shows nothing of the
// guard.
namespace npg::controller {

// Whether the kernel dropped packets that had reached the socket: its queue was full, or the
// memory for all sockets of the protocol. Rules of nftables drop them before they are counted here.
bool LostPackets(int fd);

// Packets that the kernel dropped at the input of lo, whose backlog was full; nullopt when that
// cannot be read.
std::optional<uint64_t> LoopbackDrops();

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PROBE_LOSSES_H_
