// SPDX-License-Identifier: Apache-2.0
#include "testing/run_loop.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/event_loop.h"

namespace npg::testing {

absl::Status RunLoop(base::EventLoop& loop, absl::Duration limit) {
  bool late = false;
  const base::EventLoop::TimerId timer = loop.After(limit, [&] {
    late = true;
    loop.Stop();
  });
  absl::Status status = loop.Run();
  loop.Cancel(timer);
  if (!status.ok() || !late) return status;
  return absl::DeadlineExceededError(
      absl::StrCat("nothing stopped the loop within ", absl::FormatDuration(limit)));
}

}  // namespace npg::testing
