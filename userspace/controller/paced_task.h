// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_PACED_TASK_H_
#define NODEPORT_GUARD_CONTROLLER_PACED_TASK_H_

#include <cstdint>
#include <functional>

#include "absl/time/time.h"
#include "base/event_loop.h"

namespace npg::controller {

// A task that follows changes, which may come in bursts: it runs a short time after the first of
// them, and then at a distance of at least `least` and of ten times as long as it took, but at most
// `most`.
class PacedTask {
 public:
  struct Pace {
    absl::Duration least, most;
  };

  // The loop outlives this.
  PacedTask(base::EventLoop& loop, Pace pace, std::function<void()> task);
  ~PacedTask();
  PacedTask(const PacedTask&) = delete;
  PacedTask& operator=(const PacedTask&) = delete;

  void Soon();
  // Also in place of one that is due.
  void Now();

 private:
  absl::Duration Wait() const;

  base::EventLoop& loop_;
  const Pace pace_;
  const std::function<void()> task_;
  base::EventLoop::TimerId timer_ = 0;  // 0 = not armed
  uint64_t ended_ = 0;                  // CLOCK_BOOTTIME
  absl::Duration took_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_PACED_TASK_H_
