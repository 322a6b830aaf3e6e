// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_FLOW_H_
#define NODEPORT_GUARD_CORE_FLOW_H_

#include <array>
#include <compare>
#include <cstdint>
#include <string>

namespace npg::core {

// A connection, or a UDP exchange, with both ends on this node, from the client's view.
// Addresses in network order, IPv4 v4-mapped; ports in host order.
struct Flow {
  uint8_t protocol = 0;  // IPPROTO_TCP or IPPROTO_UDP
  std::array<uint8_t, 16> client_address{};
  std::array<uint8_t, 16> server_address{};
  uint16_t client_port = 0;
  uint16_t server_port = 0;

  auto operator<=>(const Flow&) const = default;
};

// "127.0.0.1:40000 -> 127.0.0.1:30080/tcp".
std::string ToString(const Flow& flow);

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_FLOW_H_
