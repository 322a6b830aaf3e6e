// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PROBE_TRACKING_H_
#define NODEPORT_GUARD_CONTROLLER_PROBE_TRACKING_H_

#include <memory>
#include <optional>
#include <string>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "controller/obstacle_search.h"
#include "controller/probe_sockets.h"
#include "node/conntrack_watch.h"
#include "node/untracked_obstacles.h"

namespace npg::controller {

// Finds out whether conntrack tracks the packets of a self-probe: from its events, or, on a kernel
// that cannot report these, from the rules of the node.
class ProbeTracking {
 public:
  // Rules that have untracked packets tracked again.
  struct Rules {
    abi::TrafficBits traffic = 0;  // whose packets meet them
    std::string where;             // the first one
  };

  // Before the first connect, and after the sockets have their ports. `queue_bytes`: of the events.
  // `cache` must not be used otherwise while this exists.
  void Start(int queue_bytes, const std::shared_ptr<node::ObstacleCache>& cache);

  // Notes in ProbeClient::tracked which packets conntrack has tracked, and removes its entries.
  void Take(ProbeSockets::Clients& clients);

  // Without a watch, the rules have to do. False: they are still being read at `until`, of
  // SinceBoot().
  bool ReadRules(absl::Duration until);

  const Rules& tracks() const { return tracks_; }  // for certain
  const Rules& may_track() const { return may_track_; }

  // OK when no tracked packet can have gone unnoticed; otherwise UNAVAILABLE.
  absl::Status AllSeen() const;

 private:
  std::optional<node::ConntrackWatch> watch_;
  absl::Status watched_;                  // why there is no watch
  bool all_seen_ = true;                  // no event of conntrack was lost
  std::optional<ObstacleSearch> search_;  // instead of a watch
  Rules tracks_, may_track_;              // that it found
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PROBE_TRACKING_H_
