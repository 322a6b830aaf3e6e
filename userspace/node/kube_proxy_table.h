// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_KUBE_PROXY_TABLE_H_
#define NODEPORT_GUARD_NODE_KUBE_PROXY_TABLE_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace npg::node {

// The table of kube-proxy's nftables mode, of the families ip and ip6
// (Kubernetes: pkg/proxy/nftables/proxier.go).
inline constexpr absl::string_view kKubeProxyTable = "kube-proxy";

// Whether kube-proxy's nftables mode has its rules in the current network
// namespace, for either family.
absl::StatusOr<bool> HasKubeProxyRules();

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_KUBE_PROXY_TABLE_H_
