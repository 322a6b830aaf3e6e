// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SELF_PROBE_H_
#define NODEPORT_GUARD_CONTROLLER_SELF_PROBE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "controller/probe_client.h"
#include "controller/probe_sockets.h"
#include "core/desired_state.h"
#include "core/mark.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/nft/nft_table.h"
#include "node/conntrack_watch.h"
#include "node/untracked_obstacles.h"

namespace npg::controller {

// Proves that the guard takes effect and does no harm. The canaries are listeners, for TCP
// and UDP on 127.0.0.1 and, where the node has it, ::1. Their ports are in the map `nodeports`
// during the connects, with source `probe`. Sockets of the guarded cgroup connect to them through
// connect4 and connect6 and exchange some bytes in each direction. Then the programs must have
// counted each connect, the sockets must have the mark, the nft table must have counted the
// packets, conntrack must not have tracked any, and all bytes must have arrived.
//
// A probe has no other effects: it is not counted as an exemption, publishes no
// event, and leaves no connection behind, not even in TIME_WAIT. The programs exempt the
// canaries also from traffic for which the guard stands aside.
//
// Any process of the node can send to the canaries, and bind ports that they had. So the bytes
// cannot be guessed; no other process can bind a port while the probe has it; and where the kernel
// dropped packets for want of room, or a port was not to be had, the answer is "cannot tell", never
// "broken".
class SelfProbe {
 public:
  using Result = absl::StatusOr<absl::Duration>;

  // guard and table outlive this.
  SelfProbe(dataplane::BpfGuard& guard, dataplane::NftTable& table, core::Mark mark, abi::Mode mode,
            int conntrack_queue = node::ConntrackWatch::kQueueBytes);
  ~SelfProbe();
  SelfProbe(const SelfProbe&) = delete;
  SelfProbe& operator=(const SelfProbe&) = delete;

  // Begins a probe, or goes on with the one that has not ended; waits for kTurn at most. nullopt:
  // call it again soon. Normally a probe takes a millisecond, and otherwise at most five seconds.
  // The sockets get none of the ports of `nodeports`. Returns the time that it took, or what does
  // not work (FAILED_PRECONDITION), or why that is not known (UNAVAILABLE).
  std::optional<Result> Run(int cgroup_fd, const core::PortEntries& nodeports);
  static constexpr absl::Duration kTurn = absl::Milliseconds(50);

  // Of the last probe: the traffic that was exempted, and was tracked all the same or not
  // answered. Such connects are worse off with the guard than without.
  abi::TrafficBits broken() const { return broken_; }
  // The traffic of which the last probe showed whether it is broken. What the node cannot have is
  // not broken. A client that could not be set up, or was not exempted, shows nothing of its own
  // traffic, and the others are judged all the same.
  abi::TrafficBits tested() const { return tested_; }

  static constexpr size_t kCanaries = ProbeSockets::kCanaries;
  static constexpr size_t kClients = ProbeSockets::kClients;
  // The ports (host order) of the probe's packets, first the canaries', then the clients'; 0 for
  // sockets that the node cannot have, or that the next probe gets a new port for. Some probes in
  // turn use the same ones, if no other process has taken them and none was tracked. They are bound
  // only while a probe runs.
  const ProbeSockets::Ports& ports() const { return ports_; }

 private:
  struct Seen {
    uint64_t probed = 0;   // by the programs
    uint64_t packets = 0;  // by the nft table
  };
  struct Attempt;

  absl::Status Begin(int cgroup_fd);
  std::optional<Result> GoOn(const core::PortEntries& nodeports, absl::Duration until);
  absl::Status ConnectAll();
  absl::StatusOr<Seen> Look();
  // Connects it, and checks that the guard has exempted that.
  absl::Status Connect(const absl::Status& entered, ProbeClient& client);

  dataplane::BpfGuard& guard_;
  dataplane::NftTable& table_;
  const core::Mark mark_;
  const abi::Mode mode_;
  const int conntrack_queue_;
  ProbeSockets::Ports ports_{};
  int probes_ = 0;
  abi::TrafficBits broken_ = 0;
  abi::TrafficBits tested_ = 0;
  abi::TrafficBits expected_broken_ = 0;  // what was broken when it was last tested
  std::shared_ptr<node::ObstacleCache> rules_ = std::make_shared<node::ObstacleCache>();
  std::unique_ptr<Attempt> attempt_;  // that has not ended
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SELF_PROBE_H_
