// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_KUBE_EVENT_COUNTS_H_
#define NODEPORT_GUARD_SERVE_KUBE_EVENT_COUNTS_H_

#include <cstdint>

namespace npg::serve {

// The outcomes of the Kubernetes Events of this run.
struct KubeEventCounts {
  uint64_t created = 0;  // accepted by the API server, new ones and repetitions
  uint64_t failed = 0;   // refused, or not delivered after some attempts
  // Not needed because the server had it, or enough about the Service, or no room in the queue.
  uint64_t suppressed = 0;
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENT_COUNTS_H_
