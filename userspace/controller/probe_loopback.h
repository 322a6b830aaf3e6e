// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PROBE_LOOPBACK_H_
#define NODEPORT_GUARD_CONTROLLER_PROBE_LOOPBACK_H_

#include <sys/socket.h>

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "core/desired_state.h"
#include "core/port.h"

// Addresses and ports of the self-probe's sockets, which are all on loopback.
namespace npg::controller {

// An address as socket calls take it.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// The loopback address for packets of IPv4 or IPv6; `port` in host order. On an IPv6 socket, that
// of IPv4 is v4-mapped, which runs connect6 also on a node without an IPv6 address.
SocketAddress Loopback(int family, bool v4, uint16_t port);

// IPv4 v4-mapped; ports in host order.
struct SocketEnd {
  std::array<uint8_t, 16> address{};
  uint16_t port = 0;

  bool operator==(const SocketEnd&) const = default;
};

SocketEnd EndOf(const SocketAddress& address);

// The same status, as UNAVAILABLE if it is an error.
absl::Status CannotTell(const absl::Status& status);

// Binds to a loopback port that is no NodePort: to `port` if that is free, or else to one that
// the kernel picks, and stores its number. Without SO_REUSEADDR and SO_REUSEPORT, so that no
// other socket can have the port as well. NOT_FOUND when the node does not have the address;
// otherwise UNAVAILABLE.
absl::Status BindApart(int fd, int family, int type, bool v4, core::Protocol protocol,
                       const core::PortEntries& nodeports, uint16_t& port);

// Binds to a port between the lowest and the highest NodePort that is none, and stores its number.
// Rules that firewalls have for the whole range then apply to it, and it is in a block of ports
// that the nft table considers already. Without NodePorts, one of the API server's default range.
// False when chance finds none that is free.
bool BindAmongNodePorts(int fd, int family, bool v4, core::Protocol protocol,
                        const core::PortEntries& nodeports, uint16_t& port);

// Its close() resets the connection: no TIME_WAIT on either side.
void ResetAtClose(int fd);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PROBE_LOOPBACK_H_
