// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TELEMETRY_HTTP_ADDRESS_H_
#define NODEPORT_GUARD_TELEMETRY_HTTP_ADDRESS_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::telemetry {

// Where the HTTP server listens.
struct HttpAddress {
  bool v6 = false;
  std::array<uint8_t, 16> bytes{};  // network order; of IPv4 the first four
  uint16_t port = 0;

  bool operator==(const HttpAddress&) const = default;
};

// "127.0.0.1:9829", "[::1]:9829". A host name is refused: what it stands for may
// change, and with it who can connect. So is port 0, which nobody could find.
absl::StatusOr<HttpAddress> ParseHttpAddress(absl::string_view text);

std::string ToString(const HttpAddress& address);

// Whether only this node can connect to it.
bool IsLoopback(const HttpAddress& address);

// Ranges of ports, both ends included, and what they are for.
struct PortRange {
  uint16_t first = 0;
  uint16_t last = 0;
  std::string meaning;
};

// What is worth a warning about listening there: that others can connect, and
// which of the `ranges` hand its port out to somebody else.
std::vector<std::string> AddressWarnings(const HttpAddress& address,
                                         const std::vector<PortRange>& ranges);

// The ports that a node hands out: the default range of NodePorts, and, as
// `local_port_range` has it (the content of /proc/sys/net/ipv4/ip_local_port_range),
// those that the kernel picks from. What cannot be read is left out.
std::vector<PortRange> HandedOutPorts(absl::string_view local_port_range);

}  // namespace npg::telemetry

#endif  // NODEPORT_GUARD_TELEMETRY_HTTP_ADDRESS_H_
