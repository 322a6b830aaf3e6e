// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_NODE_VIEW_H_
#define NODEPORT_GUARD_SERVE_NODE_VIEW_H_

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "inspect/status.h"

namespace npg::serve {

// The node's status, shared by concurrent requests: a page that is open in ten browsers
// and a scrape cost one reading of sockets and processes. Thread-safe.
class NodeView {
 public:
  using Gather = std::function<absl::StatusOr<inspect::Status>()>;
  using Result = absl::StatusOr<std::shared_ptr<const inspect::Status>>;

  // `gather` reads the node. The callers of Get() call it, one at a time.
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
