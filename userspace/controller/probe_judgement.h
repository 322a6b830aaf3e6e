// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PROBE_JUDGEMENT_H_
#define NODEPORT_GUARD_CONTROLLER_PROBE_JUDGEMENT_H_

#include "abi/names.h"
#include "absl/status/status.h"
#include "controller/probe_sockets.h"
#include "controller/probe_tracking.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {

// What a self-probe in enforce mode shows.
struct ProbeJudgement {
  abi::TrafficBits broken = 0;  // exempted, and tracked all the same or not answered
  abi::TrafficBits tested = 0;  // of which it shows whether it is broken
  // OK, or what does not work (FAILED_PRECONDITION), or why that is not known (UNAVAILABLE).
  absl::Status status;
};

// Judges the probe once its exchange has ended and its rules were read. `lo_lost`: the kernel
// dropped packets at the input of lo meanwhile. Sets the ports of `sockets` to 0 that the next
// probe is not to have.
ProbeJudgement JudgeProbe(const ProbeSockets& sockets, const ProbeTracking& tracking,
                          dataplane::NftTable& table, bool lo_lost);

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PROBE_JUDGEMENT_H_
