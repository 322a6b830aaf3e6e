// SPDX-License-Identifier: Apache-2.0
#include "serve/http_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/port.h"
#include "core/port_ranges.h"

namespace npg::serve {
namespace {

constexpr absl::string_view kForms =
    "write an IP address and a port, as 127.0.0.1:9829 or "
    "[::1]:9829, or off";

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(what, "; ", kForms));
}

absl::StatusOr<uint16_t> ParsePortNumber(absl::string_view text) {
  absl::StatusOr<uint16_t> port = core::ParsePort(text);
  if (port.ok() && text.size() <= 5) return port;
  if (text == "0") return Invalid("has port 0, which would be another one at each start");
  return Invalid("has no port from 1 to 65535 at its end");
}

}  // namespace

absl::StatusOr<HttpAddress> ParseHttpAddress(absl::string_view text) {
  HttpAddress address;
  const bool bracketed = !text.empty() && text.front() == '[';
  const size_t end = bracketed ? text.find("]:") : text.rfind(':');
  if (end == absl::string_view::npos) return Invalid("has no port");
  const std::string host(text.substr(bracketed ? 1 : 0, end - (bracketed ? 1 : 0)));
  if (host.empty()) return Invalid("names no address to listen on");
  address.v6 = bracketed && absl::StrContains(host, ':');
  if (inet_pton(address.v6 ? AF_INET6 : AF_INET, host.c_str(), address.bytes.data()) != 1) {
    // The last group of a bare IPv6 address may have been parsed as a port.
    const bool bare_v6 =
        inet_pton(AF_INET6, std::string(text).c_str(), address.bytes.data()) == 1 ||
        inet_pton(AF_INET6, host.c_str(), address.bytes.data()) == 1;
    return Invalid(!bracketed && bare_v6
                       ? "has an IPv6 address without brackets"
                       : "has no IP address before the port (host names are not looked up)");
  }
  const absl::StatusOr<uint16_t> port = ParsePortNumber(text.substr(end + (bracketed ? 2 : 1)));
  if (!port.ok()) return port.status();
  address.port = *port;
  return address;
}

std::string ToString(const HttpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(address.v6 ? AF_INET6 : AF_INET, address.bytes.data(), text.data(), text.size());
  return address.v6 ? absl::StrCat("[", text.data(), "]:", address.port)
                    : absl::StrCat(text.data(), ":", address.port);
}

bool IsLoopback(const HttpAddress& address) {
  constexpr uint8_t kLoopback4 = 127;
  if (!address.v6) return address.bytes[0] == kLoopback4;
  in6_addr v6{};
  std::copy(address.bytes.begin(), address.bytes.end(), std::begin(v6.s6_addr));
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return address.bytes[12] == kLoopback4;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

std::vector<std::string> AddressWarnings(const HttpAddress& address,
                                         const std::optional<core::PortRange>& local,
                                         const core::PortRanges& reserved) {
  std::vector<std::string> warnings;
  if (!IsLoopback(address)) {
    warnings.push_back(absl::StrCat(
        "--http-address ", ToString(address),
        ": every client that can reach it can list the listeners of this node; there is no "
        "authentication"));
  }
  const auto warn_of = [&](const core::PortRange& range, absl::string_view meaning) {
    warnings.push_back(absl::StrCat("--http-address ", ToString(address), ": port ", address.port,
                                    " is in ", range.first, "-", range.last, ", ", meaning,
                                    "; choose one outside"));
  };
  // The API server does not know a node's reserved ports.
  if (core::Contains({core::kUsualNodePorts}, address.port)) {
    warn_of(core::kUsualNodePorts, "from which Services get their NodePorts");
  }
  if (local && core::Contains(core::Without(*local, reserved), address.port)) {
    warn_of(*local, "which the kernel gives to any socket (net.ipv4.ip_local_port_range)");
  }
  return warnings;
}

}  // namespace npg::serve
