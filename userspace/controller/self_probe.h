// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SELF_PROBE_H_
#define NODEPORT_GUARD_CONTROLLER_SELF_PROBE_H_

#include <array>
#include <cstdint>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/mark.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"

namespace npg::controller {

// Proves that the guard takes effect. The canary is a listener on 127.0.0.1 whose
// port is in the map `nodeports` during the probe, with source `probe`. A socket of
// the guarded cgroup connects to it, once through each of connect4 and connect6. Then
// the programs must have counted it, the socket must have the mark, and the nft table
// must have counted the packets.
//
// A probe has no other effects: it is not counted as an exemption, publishes no
// event, and leaves no connection behind, not even in TIME_WAIT.
class SelfProbe {
 public:
  // Both outlive this.
  SelfProbe(dataplane::BpfGuard& guard, dataplane::NftTable& table, core::Mark mark, abi::Mode mode)
      : guard_(guard), table_(table), mark_(mark), mode_(mode) {}

  // Probes once; takes a millisecond, and at most two seconds. The canary gets none
  // of the ports of `nodeports`. Returns the time that connecting took, or what does
  // not work (FAILED_PRECONDITION) or could not be tested.
  absl::StatusOr<absl::Duration> Run(int cgroup_fd, const core::PortEntries& nodeports);

  // The ports (host order) of the probe's packets: the canary's and the client's.
  // Every probe uses the same ones, as long as no other process takes them.
  const std::array<uint16_t, 2>& ports() const { return ports_; }

 private:
  struct Seen {
    uint64_t probed = 0;   // by the programs
    uint64_t packets = 0;  // by the nft table
  };

  absl::StatusOr<base::UniqueFd> Listen(const core::PortEntries& nodeports);
  absl::StatusOr<Seen> Look();
  absl::StatusOr<absl::Duration> Connect(int cgroup_fd, int family, int listener);
  absl::StatusOr<absl::Duration> ConnectAll(int cgroup_fd, int listener);

  dataplane::BpfGuard& guard_;
  dataplane::NftTable& table_;
  const core::Mark mark_;
  const abi::Mode mode_;
  std::array<uint16_t, 2> ports_{};  // 0: none yet
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SELF_PROBE_H_
