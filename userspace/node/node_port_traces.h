// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_NODE_PORT_TRACES_H_
#define NODEPORT_GUARD_NODE_NODE_PORT_TRACES_H_

namespace npg::node {

// What implements NodePorts without rules of kube-proxy, by the network interfaces that it makes.
struct NodePortTraces {
  bool ipvs = false;    // kube-proxy's IPVS mode: kube-ipvs0
  bool ovn = false;     // OVN-Kubernetes: ovn-k8s-mp0
  bool cilium = false;  // Cilium, which may also leave NodePorts to kube-proxy: cilium_host
};

// Of the current network namespace. Needs no privileges.
NodePortTraces ReadNodePortTraces();

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_NODE_PORT_TRACES_H_
