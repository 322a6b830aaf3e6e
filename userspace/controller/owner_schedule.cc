// SPDX-License-Identifier: Apache-2.0
#include "controller/owner_schedule.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"

namespace npg::controller {
namespace {

// From the first sign of a listener without a record until OwnerKeeper::Sync().
constexpr absl::Duration kOwnersDelay = absl::Milliseconds(5);
constexpr absl::Duration kMaxOwnersDelay = absl::Seconds(5);
constexpr absl::Duration kOwnersAgain = absl::Milliseconds(200);

}  // namespace

OwnerSchedule::OwnerSchedule(base::EventLoop& loop, std::function<bool()> sync)
    : loop_(loop), sync_(std::move(sync)), delay_(kOwnersDelay) {}

void OwnerSchedule::SyncNow() {
  const bool changed = sync_();
  synced_ = base::BootNanoseconds();
  delay_ = changed ? kOwnersDelay : std::min(2 * delay_, kMaxOwnersDelay);
}

void OwnerSchedule::SyncSoon() {
  if (timer_ != 0) return;
  const auto since = absl::Nanoseconds(static_cast<int64_t>(base::BootNanoseconds() - synced_));
  timer_ = loop_.After(std::max(kOwnersDelay, delay_ - since), [this] {
    timer_ = 0;
    SyncNow();
  });
}

void OwnerSchedule::BindNoted() {
  SyncSoon();
  // The program runs before the bind or connect: a task that was preempted there does it later.
  if (again_ != 0) return;
  again_ = loop_.After(kOwnersAgain, [this] {
    again_ = 0;
    SyncSoon();
  });
}

}  // namespace npg::controller
