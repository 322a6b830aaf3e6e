// SPDX-License-Identifier: Apache-2.0
#include "base/event_loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::base {
namespace {

// Timers use CLOCK_BOOTTIME: setting the wall clock must not fire or stall them.
// absl::Time only carries the value.
absl::Time Now() { return absl::UnixEpoch() + absl::Nanoseconds(BootNanoseconds()); }

// The data of an epoll event. The kernel reuses the number of a closed descriptor at once,
// even within a batch that has an event of the closed one; the generation distinguishes
// them.
uint64_t Tag(int fd, uint32_t generation) {
  return uint64_t{generation} << 32 | static_cast<uint32_t>(fd);
}
int TaggedFd(uint64_t tag) { return static_cast<int>(tag & UINT32_MAX); }
uint32_t TaggedGeneration(uint64_t tag) { return static_cast<uint32_t>(tag >> 32); }

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return ErrnoStatus(errno, "epoll_create1");
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll)));
}

absl::Status EventLoop::AddFd(int fd, uint32_t epoll_events, FdCallback callback) {
  epoll_event event{};
  event.events = epoll_events;
  event.data.u64 = Tag(fd, next_generation_);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoStatus(errno, absl::StrCat("watch file descriptor ", fd));
  }
  fds_[fd] = {next_generation_++, std::make_shared<FdCallback>(std::move(callback))};
  return absl::OkStatus();
}

void EventLoop::RemoveFd(int fd) {
  if (fds_.erase(fd) > 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::After(absl::Duration delay, std::function<void()> callback) {
  const TimerId id = next_timer_++;
  timers_[id] = Timer{Now() + delay, std::move(callback)};
  return id;
}

void EventLoop::Cancel(TimerId timer) { timers_.erase(timer); }

int EventLoop::MillisecondsToNextTimer() const {
  if (timers_.empty()) return -1;
  absl::Time next = absl::InfiniteFuture();
  for (const auto& [id, timer] : timers_) next = std::min(next, timer.due);
  const absl::Duration wait = absl::Ceil(next - Now(), absl::Milliseconds(1));
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(wait), 0, 60'000));
}

void EventLoop::RunDueTimers() {
  // A callback may arm or cancel timers, or take long: take the due ones one at a time.
  const absl::Time now = Now();
  std::vector<std::pair<absl::Time, TimerId>> due;
  for (const auto& [id, timer] : timers_) {
    if (timer.due <= now) due.emplace_back(timer.due, id);
  }
  std::sort(due.begin(), due.end());
  for (const auto& [when, id] : due) {
    if (stopped_) return;
    auto node = timers_.extract(id);
    if (!node.empty()) node.mapped().callback();
  }
}

absl::Status EventLoop::Run() {
  std::array<epoll_event, 32> events{};
  while (!stopped_) {
    const int ready = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                 MillisecondsToNextTimer());
    if (ready < 0 && errno != EINTR) return ErrnoStatus(errno, "epoll_wait");
    for (int i = 0; i < ready && !stopped_; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      const auto it = fds_.find(TaggedFd(event.data.u64));
      if (it == fds_.end() || it->second.generation != TaggedGeneration(event.data.u64)) {
        continue;  // removed by a callback before it
      }
      const std::shared_ptr<FdCallback> callback = it->second.callback;
      (*callback)(event.events);
    }
    if (!stopped_) RunDueTimers();
  }
  stopped_ = false;
  return absl::OkStatus();
}

}  // namespace npg::base
