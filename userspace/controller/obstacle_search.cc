// SPDX-License-Identifier: Apache-2.0
#include "controller/obstacle_search.h"

#include <future>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/thread.h"
#include "dataplane/nft/nft_table.h"
#include "node/untracked_obstacles.h"

namespace npg::controller {

ObstacleSearch::ObstacleSearch() : found_(result_.get_future()) {
  absl::StatusOr<std::thread> thread = base::StartThread("npg-rules", [this] {
    result_.set_value(node::ReadUntrackedObstacles(std::string(dataplane::kNftTableName)));
  });
  if (thread.ok()) {
    thread_ = *std::move(thread);
  } else {
    result_.set_value(Found(thread.status()));
  }
}

ObstacleSearch::~ObstacleSearch() {
  if (thread_.joinable()) thread_.join();
}

std::optional<ObstacleSearch::Found> ObstacleSearch::Take(absl::Duration wait) {
  if (found_.wait_for(absl::ToChronoMicroseconds(wait)) != std::future_status::ready) {
    return std::nullopt;
  }
  return found_.get();
}

}  // namespace npg::controller
