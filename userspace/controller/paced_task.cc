// SPDX-License-Identifier: Apache-2.0
#include "controller/paced_task.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"

namespace npg::controller {
namespace {

// From the first change until a PacedTask runs: changes tend to come in bursts.
constexpr absl::Duration kBurst = absl::Milliseconds(10);
// While changes go on, a task takes about a tenth of the time.
constexpr int kPauses = 10;

}  // namespace

PacedTask::PacedTask(base::EventLoop& loop, Pace pace, std::function<void()> task)
    : loop_(loop), pace_(pace), task_(std::move(task)) {}

PacedTask::~PacedTask() { loop_.Cancel(timer_); }

void PacedTask::Soon() {
  if (timer_ != 0) return;
  timer_ = loop_.After(Wait(), [this] {
    timer_ = 0;
    Now();
  });
}

void PacedTask::Now() {
  loop_.Cancel(timer_);
  timer_ = 0;
  const uint64_t begun = base::BootNanoseconds();
  task_();
  ended_ = base::BootNanoseconds();
  took_ = absl::Nanoseconds(static_cast<int64_t>(ended_ - begun));
}

absl::Duration PacedTask::Wait() const {
  const absl::Duration distance = std::clamp(kPauses * took_, pace_.least, pace_.most);
  const auto since = absl::Nanoseconds(static_cast<int64_t>(base::BootNanoseconds() - ended_));
  return std::max(kBurst, distance - since);
}

}  // namespace npg::controller
