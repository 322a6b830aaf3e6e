// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_OWNER_SCHEDULE_H_
#define NODEPORT_GUARD_CONTROLLER_OWNER_SCHEDULE_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "base/event_loop.h"

namespace npg::controller {

// Decides when to look up the owners of listeners (OwnerKeeper::Sync()), some milliseconds after
// the first sign of a listener without a record. Any process can cause such signs without end: each
// look that changes nothing doubles the interval.
class OwnerSchedule {
 public:
  // `loop` outlives this. `sync` looks them up, and returns whether that changed anything.
  OwnerSchedule(base::EventLoop& loop, std::function<bool()> sync);

  void SyncNow();
  // After the interval, from the loop.
  void SyncSoon();
  // After a sign from the programs: soon, and once more later.
  void BindNoted();

 private:
  base::EventLoop& loop_;
  const std::function<bool()> sync_;
  base::EventLoop::TimerId timer_ = 0;  // 0 = not armed
  base::EventLoop::TimerId again_ = 0;
  uint64_t synced_ = 0;  // CLOCK_BOOTTIME
  absl::Duration delay_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_OWNER_SCHEDULE_H_
