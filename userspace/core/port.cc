// SPDX-License-Identifier: Apache-2.0
#include "core/port.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/decimal.h"

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
  const std::optional<uint32_t> port = base::ParseDecimal<uint32_t>(text);
  if (!port) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text.substr(0, 64), "\" is not a port number"));
  }
  if (*port == 0 || *port > UINT16_MAX) {
    return absl::InvalidArgumentError(absl::StrCat("port ", *port, " is outside 1-65535"));
  }
  return static_cast<uint16_t>(*port);
}

absl::StatusOr<PortAndProtocol> ParsePortAndProtocol(absl::string_view text) {
  PortAndProtocol parsed;
  const size_t slash = text.find('/');
  const absl::StatusOr<uint16_t> port = ParsePort(text.substr(0, slash));
  if (!port.ok()) return port.status();
  parsed.port = *port;
  if (slash == absl::string_view::npos) return parsed;
  const absl::StatusOr<Protocol> protocol = ParseProtocol(text.substr(slash + 1));
  if (!protocol.ok()) return protocol.status();
  parsed.protocol = *protocol;
  return parsed;
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
