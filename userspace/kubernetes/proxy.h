// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_PROXY_H_
#define NODEPORT_GUARD_KUBERNETES_PROXY_H_

#include <string>

#include "kubernetes/cluster_access.h"
#include "kubernetes/in_cluster.h"

namespace npg::kubernetes {

// The URL of the proxy for requests to the server of `access`; "" for none. A proxy-url of
// a kubeconfig comes first. Otherwise the environment decides, by the rules of Go's
// net/http, so that a node reaches the API server in the way that kubectl does there:
// - HTTPS_PROXY, or https_proxy where that is empty; without a scheme it is http. ALL_PROXY
//   and HTTP_PROXY do not count.
// - Never for localhost and loopback addresses.
// - Not for what NO_PROXY (or no_proxy) has, separated by commas: "*"; an address, or a
//   CIDR; "example.com", that name and all below it; ".example.com" or "*.example.com", all
//   below it. All but CIDRs may end in a port: "10.0.0.1:6443", "[fd00::1]:6443". Names do
//   not match servers that are addresses.
// A name in NO_PROXY that is not ASCII matches nothing.
std::string ProxyOf(const ClusterAccess& access, const Environment& environment);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_PROXY_H_
