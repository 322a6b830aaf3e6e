// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_NODE_VIEW_H_
#define NODEPORT_GUARD_SERVE_NODE_VIEW_H_

#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/conflicts.h"

namespace npg::serve {

// The node at one time, as `nodeport-guard status` sees it.
struct NodeStatus {
  nlohmann::ordered_json document;  // what `status -o json` prints
  std::vector<core::Conflict> conflicts;
  absl::Time read;
};

// The node's status for those who ask often: a page that is open in ten
// browsers, or a scrape while it is, costs the node one reading of its sockets
// and processes. Thread-safe.
class NodeView {
 public:
  using Gather = std::function<absl::StatusOr<NodeStatus>()>;
  using Result = absl::StatusOr<std::shared_ptr<const NodeStatus>>;

  // `gather` reads the node anew. It is called by whoever asks, one at a time.
  explicit NodeView(Gather gather) : gather_(std::move(gather)) {}

  // The status, at most `max_age` old; an error is kept as long as a status.
  Result Get(absl::Duration max_age);

 private:
  const Gather gather_;
  std::mutex mutex_;
  absl::Time read_ = absl::InfinitePast();
  std::optional<Result> last_;
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_NODE_VIEW_H_
