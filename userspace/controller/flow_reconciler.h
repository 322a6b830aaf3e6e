// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_FLOW_RECONCILER_H_
#define NODEPORT_GUARD_CONTROLLER_FLOW_RECONCILER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "controller/node_follower.h"
#include "controller/self_probe.h"
#include "core/flow.h"
#include "core/mark.h"
#include "dataplane/nft/nft_table.h"
#include "log/repeated_fault.h"

namespace npg::controller {

// Keeps the flow entries of the table equal to the exempted connections, by the node's sockets.
class FlowReconciler {
 public:
  // All outlive this.
  FlowReconciler(dataplane::NftTable& table, const NodeFollower& node, const SelfProbe& probe,
                 core::Mark mark)
      : table_(table), node_(node), probe_(probe), mark_(mark) {}

  // For NftTable::Guard(): the connections whose entries must not be missing. Empty after an error,
  // which it logs.
  std::vector<core::Flow> LiveFlows();

  // At regular intervals. Does nothing if the last call was expensive and not long ago, and, unless
  // `full`, if there are no entries.
  void Maintain(bool full);

 private:
  absl::Status Reconcile(bool full);

  dataplane::NftTable& table_;
  const NodeFollower& node_;
  const SelfProbe& probe_;
  const core::Mark mark_;
  uint64_t not_before_ = 0;  // CLOCK_BOOTTIME
  log::RepeatedFault flows_fault_{"list the exempted connections"};
  log::RepeatedFault reconcile_fault_{"reconcile the flow entries"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_FLOW_RECONCILER_H_
