// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_OBSTACLE_SEARCH_H_
#define NODEPORT_GUARD_CONTROLLER_OBSTACLE_SEARCH_H_

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "node/untracked_obstacles.h"

namespace npg::controller {

// Looks once for rules in the way of untracked packets, on a thread of its own: that takes up to
// a second, and the loop must go on.
class ObstacleSearch {
 public:
  using Found = absl::StatusOr<std::vector<node::UntrackedObstacle>>;

  // Begins. Without a thread, Take() returns why there is none. With a `cache`, which must not be
  // used otherwise meanwhile, rules that have not changed are not read again.
  explicit ObstacleSearch(std::shared_ptr<node::ObstacleCache> cache = nullptr,
                          node::ObstacleQuery query = {});
  // Stops it.
  ~ObstacleSearch();
  ObstacleSearch(const ObstacleSearch&) = delete;
  ObstacleSearch& operator=(const ObstacleSearch&) = delete;

  // The result, once; waits for it for `wait` at most. nullopt: it has not ended.
  std::optional<Found> Take(absl::Duration wait);

 private:
  std::atomic<bool> stop_ = false;
  std::promise<Found> result_;
  std::future<Found> found_;
  std::thread thread_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_OBSTACLE_SEARCH_H_
