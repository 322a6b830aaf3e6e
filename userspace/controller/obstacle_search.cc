// SPDX-License-Identifier: Apache-2.0
#include "controller/obstacle_search.h"

#include <atomic>
#include <future>
#include <memory>
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

ObstacleSearch::ObstacleSearch(std::shared_ptr<node::ObstacleCache> cache,
                               node::ObstacleQuery query)
    : found_(result_.get_future()) {
  if (!cache) cache = std::make_shared<node::ObstacleCache>();
  query.stop = &stop_;
  absl::StatusOr<std::thread> thread =
      base::StartThread("npg-rules", [this, cache = std::move(cache), query] {
        result_.set_value(cache->Read(std::string(dataplane::kNftTableName), query));
      });
  if (thread.ok()) {
    thread_ = *std::move(thread);
  } else {
    result_.set_value(Found(thread.status()));
  }
}

ObstacleSearch::~ObstacleSearch() {
  stop_.store(true, std::memory_order_relaxed);
  if (thread_.joinable()) thread_.join();
}

std::optional<ObstacleSearch::Found> ObstacleSearch::Take(absl::Duration wait) {
  if (found_.wait_for(absl::ToChronoMicroseconds(wait)) != std::future_status::ready) {
    return std::nullopt;
  }
  return found_.get();
}

}  // namespace npg::controller
