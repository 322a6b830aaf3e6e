// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CORE_PORT_H_
#define NODEPORT_GUARD_CORE_PORT_H_

#include <netinet/in.h>

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/service_ref.h"

namespace npg::core {

// The protocols of guarded ports. MPTCP counts as TCP. SCTP, which a Service may have, and
// for which kube-proxy makes rules, is not guarded.
enum class Protocol : uint8_t { kTcp = IPPROTO_TCP, kUdp = IPPROTO_UDP };

// "tcp", "udp".
absl::string_view ProtocolName(Protocol protocol);

// A port number (host order, 1 to 65535) of one protocol: what the API server
// allocates as a NodePort.
struct PortKey {
  uint16_t port = 0;
  Protocol protocol = Protocol::kTcp;

  auto operator<=>(const PortKey&) const = default;

  template <typename H>
  friend H AbslHashValue(H state, const PortKey& key) {
    return H::combine(std::move(state), key.port, static_cast<uint8_t>(key.protocol));
  }
};

// "33589/tcp".
std::string ToString(const PortKey& key);

// Parses a port number in decimal, 1 to 65535. INVALID_ARGUMENT quotes other text.
absl::StatusOr<uint16_t> ParsePort(absl::string_view text);

// Parses a protocol in any case: "tcp", "UDP". INVALID_ARGUMENT otherwise;
// "SCTP" is named as not guarded.
absl::StatusOr<Protocol> ParseProtocol(absl::string_view text);

// A port of one protocol, or of any if that is not given.
struct PortAndProtocol {
  uint16_t port = 0;
  std::optional<Protocol> protocol;

  bool operator==(const PortAndProtocol&) const = default;
};

// "33589", "33589/tcp". INVALID_ARGUMENT as for the two parts.
absl::StatusOr<PortAndProtocol> ParsePortAndProtocol(absl::string_view text);

// The allocated ports of one source: port → Service, which is empty if the source does not
// know it. Always complete, so that repeated or missed snapshots do no harm.
using PortSnapshot = absl::btree_map<PortKey, ServiceRef>;

}  // namespace npg::core

#endif  // NODEPORT_GUARD_CORE_PORT_H_
