// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_NFT_MAPS_H_
#define NODEPORT_GUARD_SOURCES_NFT_MAPS_H_

#include "absl/status/statusor.h"
#include "base/netlink_view.h"
#include "core/port.h"
#include "sources/skipped_lines.h"
#include "sources/source.h"

namespace npg::sources {

// Gathers the elements of one of kube-proxy's maps (inet_proto . inet_service : verdict)
// from the messages of the kernel's answer to NFT_MSG_GETSETELEM. The Service comes from the
// chain the verdict goes to (external-HASH-namespace/name/protocol/port) or from the element's
// comment (namespace/name:port). Ignores SCTP; elements of another shape are in
// Reading::skipped.
class MapDecoder {
 public:
  void Add(const base::NetlinkMessage& message);
  Reading Take() &&;

 private:
  core::PortSnapshot ports_;
  SkippedLines skipped_;
};

// Reads the maps service-nodeports and no-endpoint-nodeports of the tables `ip kube-proxy`
// and `ip6 kube-proxy` in the current network namespace. A missing map counts as empty; the
// coverage is kNone where all are missing.
absl::StatusOr<Reading> ReadKubeProxyMaps();

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_NFT_MAPS_H_
