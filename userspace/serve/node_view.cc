// SPDX-License-Identifier: Apache-2.0
#include "serve/node_view.h"

#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace npg::serve {

NodeView::Result NodeView::Get(absl::Duration max_age) {
  const std::lock_guard lock(mutex_);
  const absl::Duration age = absl::Now() - read_;
  // age < 0: the clock was set back, which must not keep the status for hours.
  if (!last_ || age > max_age || age < absl::ZeroDuration()) {
    absl::StatusOr<inspect::Status> status = gather_();
    read_ = absl::Now();
    if (status.ok()) {
      last_ = std::make_shared<const inspect::Status>(*std::move(status));
    } else {
      last_ = status.status();
    }
  }
  return *last_;
}

}  // namespace npg::serve
