// SPDX-License-Identifier: Apache-2.0
#include "controller/flow_reconciler.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "core/flow.h"
#include "node/sock_diag.h"

namespace npg::controller {

// Without the unmarked ones: their entries may be missing although no other process removed them.
std::vector<core::Flow> FlowReconciler::LiveFlows() {
  absl::StatusOr<std::vector<core::Flow>> flows = node::ListMarkedFlows(mark_, node_.addresses());
  flows_fault_.Note(flows.status());
  return flows.ok() ? *std::move(flows) : std::vector<core::Flow>();
}

void FlowReconciler::Maintain(bool full) {
  // To list large sets of flows takes the kernel long: for a tenth of the time at most.
  constexpr uint64_t kShare = 10;
  const uint64_t begin = base::BootNanoseconds();
  if (begin < not_before_) return;
  reconcile_fault_.Note(Reconcile(full));
  not_before_ = begin + kShare * (base::BootNanoseconds() - begin);
}

absl::Status FlowReconciler::Reconcile(bool full) {
  if (!full) {
    const absl::StatusOr<bool> quiet = table_.Quiet(probe_.ports());
    if (!quiet.ok()) return quiet.status();
    if (*quiet) return absl::OkStatus();
  }
  // An error does not mean that no connection is open: remove nothing then.
  absl::StatusOr<std::vector<core::Flow>> exempt =
      node::ListExemptFlows(mark_, node_.datagram_targets(), node_.addresses());
  if (!exempt.ok()) return exempt.status();
  absl::StatusOr<std::vector<core::Flow>> connected = node::ListLocalFlows(node_.addresses());
  if (!connected.ok()) return connected.status();
  return table_.Reconcile(*exempt, *connected);
}

}  // namespace npg::controller
