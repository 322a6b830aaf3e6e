// SPDX-License-Identifier: Apache-2.0
#include "testing/api_traffic.h"

#include <algorithm>
#include <cstddef>
#include <mutex>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "testing/api_request.h"

namespace npg::testing {

size_t Traffic::Count(RequestKind kind) const {
  return static_cast<size_t>(
      std::count_if(requests.begin(), requests.end(),
                    [kind](const RecordedRequest& request) { return request.kind == kind; }));
}

Traffic TrafficLog::Get() const {
  const std::lock_guard lock(mutex_);
  return traffic_;
}

void TrafficLog::Update(absl::FunctionRef<void(Traffic&)> change) {
  const std::lock_guard lock(mutex_);
  change(traffic_);
  changed_.notify_all();
}

bool TrafficLog::WaitUntil(absl::Duration deadline,
                           absl::FunctionRef<bool(const Traffic&)> condition) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoNanoseconds(deadline),
                           [this, condition] { return condition(traffic_); });
}

}  // namespace npg::testing
