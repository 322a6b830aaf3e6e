// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_RING_FOLLOWER_H_
#define NODEPORT_GUARD_CONTROLLER_RING_FOLLOWER_H_

#include <sys/epoll.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/event_loop.h"

namespace npg::controller {

// Reads the records of a ring buffer for the log, beside any number of other readers. `Reader` is
// dataplane::EventsReader or one with the same interface.
template <typename Reader>
class RingFollower {
 public:
  struct Callbacks {
    std::function<void()> drain;  // read what Reader::Drain() returns
    std::function<void()> look;   // after that, every `look`; may be empty
  };

  // `loop` outlives it. Every `look` it also reads the records whose wake-up another reader of the
  // buffer consumed.
  RingFollower(base::EventLoop& loop, std::unique_ptr<Reader> reader, absl::Duration look,
               Callbacks callbacks)
      : loop_(loop), reader_(std::move(reader)), look_(look), callbacks_(std::move(callbacks)) {}

  ~RingFollower() {
    if (watching_) loop_.RemoveFd(reader_->fd());
    loop_.Cancel(watch_timer_);
    loop_.Cancel(look_timer_);
  }
  RingFollower(const RingFollower&) = delete;
  RingFollower& operator=(const RingFollower&) = delete;

  absl::Status Start() {
    if (absl::Status status = Watch(); !status.ok()) return status;
    Look();
    return absl::OkStatus();
  }

  Reader& reader() { return *reader_; }

 private:
  // The minimum interval between two reads of the records.
  static constexpr absl::Duration kWatchInterval = absl::Milliseconds(200);

  absl::Status Watch() {
    absl::Status added =
        loop_.AddFd(reader_->fd(), EPOLLIN, [this](uint32_t /*events*/) { OnRecords(); });
    watching_ = added.ok();
    return added;
  }

  // A busy port must not keep the loop busy; these log lines are not urgent.
  void OnRecords() {
    callbacks_.drain();
    loop_.RemoveFd(reader_->fd());
    watching_ = false;
    watch_timer_ = loop_.After(kWatchInterval, [this] {
      watch_timer_ = 0;
      // If this fails, records are still read every `look_`.
      Watch().IgnoreError();
    });
  }

  void Look() {
    callbacks_.drain();
    if (callbacks_.look) callbacks_.look();
    look_timer_ = loop_.After(look_, [this] { Look(); });
  }

  base::EventLoop& loop_;
  const std::unique_ptr<Reader> reader_;
  const absl::Duration look_;
  const Callbacks callbacks_;
  bool watching_ = false;
  base::EventLoop::TimerId watch_timer_ = 0;  // 0 = not armed
  base::EventLoop::TimerId look_timer_ = 0;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_RING_FOLLOWER_H_
