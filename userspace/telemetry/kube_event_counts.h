// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TELEMETRY_KUBE_EVENT_COUNTS_H_
#define NODEPORT_GUARD_TELEMETRY_KUBE_EVENT_COUNTS_H_

#include <cstdint>

namespace npg::telemetry {

// What became of the Kubernetes Events that the controller had to tell, since it started.
struct KubeEventCounts {
  uint64_t created = 0;     // the API server took them
  uint64_t failed = 0;      // it did not
  uint64_t suppressed = 0;  // held back, so as not to flood it
};

}  // namespace npg::telemetry

#endif  // NODEPORT_GUARD_TELEMETRY_KUBE_EVENT_COUNTS_H_
