// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTTP_ADDRESS_H_
#define NODEPORT_GUARD_SERVE_HTTP_ADDRESS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/port_ranges.h"

namespace npg::serve {

// Where the HTTP server listens.
struct HttpAddress {
  bool v6 = false;
  std::array<uint8_t, 16> bytes{};  // network order; of IPv4 the first four
  uint16_t port = 0;

  bool operator==(const HttpAddress&) const = default;
};

// "127.0.0.1:9829", "[::1]:9829", and "[127.0.0.1]:9829" for whoever puts an
// address of either kind into brackets, as a manifest does. A host name is refused: what it stands
// for may change, and with it who can connect. So is port 0, which nobody could find.
absl::StatusOr<HttpAddress> ParseHttpAddress(absl::string_view text);

std::string ToString(const HttpAddress& address);

// Whether only this node can connect to it.
bool IsLoopback(const HttpAddress& address);

// What is worth a warning about listening there: that others can connect, and
// that a Service or a socket may be given the port. The kernel gives those of
// `local`, where that is known, but not those that are `reserved`.
std::vector<std::string> AddressWarnings(const HttpAddress& address,
                                         const std::optional<core::PortRange>& local,
                                         const core::PortRanges& reserved);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_ADDRESS_H_
