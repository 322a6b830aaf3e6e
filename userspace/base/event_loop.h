// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_EVENT_LOOP_H_
#define NODEPORT_GUARD_BASE_EVENT_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace npg::base {

// A single-threaded epoll loop. Not thread-safe: callbacks run on the thread that calls
// Run(), and are registered and removed there.
class EventLoop {
 public:
  using FdCallback = std::function<void(uint32_t epoll_events)>;
  using TimerId = uint64_t;

  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();
  ~EventLoop() = default;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls back, level-triggered, when `fd` has any of `epoll_events` (EPOLLIN,
  // EPOLLOUT, ...) or is hung up. The fd stays the caller's, which removes it before
  // closing it. A callback may remove any fd, also its own.
  absl::Status AddFd(int fd, uint32_t epoll_events, FdCallback callback);
  void RemoveFd(int fd);

  // Calls back once after `delay` (rounded up to a millisecond), never before
  // Run(). A periodic timer is one that arms itself again.
  TimerId After(absl::Duration delay, std::function<void()> callback);
  void Cancel(TimerId timer);

  // Runs until Stop(): after that it calls nothing that is still pending; the next Run()
  // does. A Stop() before Run() ends that Run() at once. Returns an error only when epoll
  // itself fails.
  absl::Status Run();
  void Stop() { stopped_ = true; }

 private:
  explicit EventLoop(UniqueFd epoll) : epoll_(std::move(epoll)) {}

  struct Watch {
    uint32_t generation = 0;
    std::shared_ptr<FdCallback> callback;
  };
  struct Timer {
    absl::Time due;
    std::function<void()> callback;
  };

  int MillisecondsToNextTimer() const;
  void RunDueTimers();

  UniqueFd epoll_;
  absl::flat_hash_map<int, Watch> fds_;
  uint32_t next_generation_ = 0;
  absl::flat_hash_map<TimerId, Timer> timers_;
  TimerId next_timer_ = 1;
  bool stopped_ = false;
};

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_EVENT_LOOP_H_
