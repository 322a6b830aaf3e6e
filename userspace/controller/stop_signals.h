// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_STOP_SIGNALS_H_
#define NODEPORT_GUARD_CONTROLLER_STOP_SIGNALS_H_

#include "absl/status/status.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace npg::controller {

// Stops the loop when the process gets SIGTERM or SIGINT.
class StopSignals {
 public:
  StopSignals() = default;
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Call it before there are other threads: it blocks the signals. The loop does not run any more
  // when this is destroyed.
  absl::Status Watch(base::EventLoop& loop);

 private:
  base::UniqueFd signals_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_STOP_SIGNALS_H_
