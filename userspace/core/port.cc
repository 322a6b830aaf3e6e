// SPDX-License-Identifier: Apache-2.0
#include "core/port.h"

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::core {

absl::string_view ProtocolName(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp:
      return "tcp";
    case Protocol::kUdp:
      return "udp";
  }
  return "unknown";
}

std::string ToString(const PortKey& key) {
  return absl::StrCat(key.port, "/", ProtocolName(key.protocol));
}

absl::StatusOr<uint16_t> ParsePort(absl::string_view text) {
  uint32_t port = 0;
  // SimpleAtoi() also takes signs and blanks, which no port has.
  if (text.empty() || text.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(text, &port)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text.substr(0, 64), "\" is not a port number"));
  }
  if (port == 0 || port > UINT16_MAX) {
    return absl::InvalidArgumentError(absl::StrCat("port ", port, " is outside 1-65535"));
  }
  return static_cast<uint16_t>(port);
}

absl::StatusOr<Protocol> ParseProtocol(absl::string_view text) {
  if (absl::EqualsIgnoreCase(text, "tcp")) return Protocol::kTcp;
  if (absl::EqualsIgnoreCase(text, "udp")) return Protocol::kUdp;
  if (absl::EqualsIgnoreCase(text, "sctp")) {
    return absl::InvalidArgumentError("protocol SCTP is not guarded");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text.substr(0, 64), "\" is not a protocol (tcp, udp)"));
}

}  // namespace npg::core
