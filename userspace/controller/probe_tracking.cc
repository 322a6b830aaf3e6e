// SPDX-License-Identifier: Apache-2.0
#include "controller/probe_tracking.h"

#include <linux/netfilter.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "controller/obstacle_search.h"
#include "controller/probe_client.h"
#include "controller/probe_sockets.h"
#include "core/flow.h"
#include "node/conntrack_watch.h"
#include "node/untracked_obstacles.h"

namespace npg::controller {
namespace {

void AddRule(const node::UntrackedObstacle& obstacle, ProbeTracking::Rules& rules) {
  for (const auto& row : abi::kTraffic) {
    const bool v4 = row.value == abi::Traffic::kTcp4 || row.value == abi::Traffic::kUdp4;
    const auto other = static_cast<uint8_t>(v4 ? NFPROTO_IPV6 : NFPROTO_IPV4);
    if (obstacle.family != other) rules.traffic |= abi::Bit(row.value);
  }
  if (rules.where.empty()) rules.where = obstacle.where;
}

}  // namespace

void ProbeTracking::Start(int queue_bytes, const std::shared_ptr<node::ObstacleCache>& cache) {
  absl::StatusOr<node::ConntrackWatch> watch = node::ConntrackWatch::Start(queue_bytes);
  watched_ = watch.status();
  if (watch.ok()) {
    watch_.emplace(*std::move(watch));
  } else if (absl::IsUnimplemented(watch.status())) {
    search_.emplace(cache, node::ObstacleQuery{.tracks = true, .drops = false});
  } else {
    all_seen_ = false;
  }
}

// The sockets have both ports for themselves since before the watch began, so an entry between
// exactly these ends is the probe's.
void ProbeTracking::Take(ProbeSockets::Clients& clients) {
  if (!watch_) return;
  const absl::StatusOr<node::ConntrackWatch::Entries> entries = watch_->Take();
  if (!entries.ok() || !entries->whole) all_seen_ = false;
  if (!entries.ok()) return;
  for (const node::ConntrackEntry& entry : entries->list) {
    for (ProbeClient& client : clients) {
      if (!client.fd) continue;
      const core::Flow request = client.flow();
      const core::Flow reply{request.protocol, request.server_address, request.client_address,
                             request.server_port, request.client_port};
      if (entry.flow != request && entry.flow != reply) continue;
      watch_->Remove(entry).IgnoreError();
      client.tracked =
          absl::StrCat("conntrack tracked the ", entry.flow == request ? "packets" : "replies",
                       " of an exempted connect (", client.Text(), ") in zone ", entry.zone);
      break;
    }
  }
}

bool ProbeTracking::ReadRules(absl::Duration until) {
  if (!search_) return true;
  const std::optional<ObstacleSearch::Found> found =
      search_->Take(std::max(until - SinceBoot(), absl::ZeroDuration()));
  if (!found) return false;
  search_.reset();
  if (!found->ok()) {
    all_seen_ = false;
    watched_ = found->status();
    return true;
  }
  for (const node::UntrackedObstacle& obstacle : **found) {
    if (obstacle.kind != node::UntrackedObstacle::Kind::kTracks) continue;
    AddRule(obstacle, obstacle.certain ? tracks_ : may_track_);
  }
  return true;
}

absl::Status ProbeTracking::AllSeen() const {
  if (all_seen_) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "whether conntrack tracks exempted connects is not known: ",
      watched_.ok() ? "the node makes more connections than can be listed" : watched_.message()));
}

}  // namespace npg::controller
