// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_NFT_MAPS_H_
#define NODEPORT_GUARD_SOURCES_NFT_MAPS_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "sources/source.h"

namespace npg::sources {

// The table in which kube-proxy's nftables mode keeps what it does.
inline constexpr absl::string_view kKubeProxyTable = "kube-proxy";

// Decodes the kernel's reply to NFT_MSG_GETSETELEM for one of kube-proxy's maps
// (inet_proto . inet_service : verdict): netlink messages, as received. The Service comes from the
// chain the verdict goes to (external-HASH-namespace/name/protocol/port) or from the element's
// comment (namespace/name:port). SCTP is passed over, elements of another shape are in
// Reading::skipped. NOT_FOUND when there is no such map, UNAVAILABLE when it changed while the
// kernel sent it, INVALID_ARGUMENT when the reply is cut off.
absl::StatusOr<Reading> DecodeMapElements(absl::string_view messages);

// Reads the maps service-nodeports and no-endpoint-nodeports of the tables
// `ip kube-proxy` and `ip6 kube-proxy` in the current network namespace. What
// is not there is empty.
absl::StatusOr<Reading> ReadKubeProxyMaps();

// Whether kube-proxy's nftables mode has its rules in the current network
// namespace, for either family.
absl::StatusOr<bool> HasKubeProxyRules();

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_NFT_MAPS_H_
