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

// "127.0.0.1:9829", "[::1]:9829", and "[127.0.0.1]:9829" for manifests that put an address
// of either family into brackets. Refuses host names, whose addresses may change and with
// them who can connect, and port 0, which clients could not find.
absl::StatusOr<HttpAddress> ParseHttpAddress(absl::string_view text);

std::string ToString(const HttpAddress& address);

// Whether only this node can connect to it.
bool IsLoopback(const HttpAddress& address);

// Warnings about listening there: other nodes can connect, or a Service or a socket may
// get the port. The kernel assigns ports of `local`, if known, except those in `reserved`.
std::vector<std::string> AddressWarnings(const HttpAddress& address,
                                         const std::optional<core::PortRange>& local,
                                         const core::PortRanges& reserved);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_ADDRESS_H_
