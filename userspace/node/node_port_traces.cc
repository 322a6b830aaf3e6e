// SPDX-License-Identifier: Apache-2.0
#include "node/node_port_traces.h"

#include <net/if.h>

namespace npg::node {

NodePortTraces ReadNodePortTraces() {
  return {.ipvs = if_nametoindex("kube-ipvs0") != 0,
          .ovn = if_nametoindex("ovn-k8s-mp0") != 0,
          .cilium = if_nametoindex("cilium_host") != 0};
}

}  // namespace npg::node
