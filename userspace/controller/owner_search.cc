// SPDX-License-Identifier: Apache-2.0
#include "controller/owner_search.h"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/thread.h"
#include "core/listener.h"
#include "node/owners.h"

namespace npg::controller {

OwnerSearch::OwnerSearch(base::EventLoop& loop, std::function<void(const Found&)> found,
                         std::function<void()> again)
    : loop_(loop), found_(std::move(found)), again_(std::move(again)) {}

OwnerSearch::~OwnerSearch() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  if (done_) loop_.RemoveFd(done_.get());
  loop_.Cancel(timer_);
}

absl::Status OwnerSearch::Follow() {
  done_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!done_) return base::ErrnoStatus(errno, "create an eventfd");
  return loop_.AddFd(done_.get(), EPOLLIN, [this](uint32_t) { Finish(); });
}

bool OwnerSearch::Start(std::vector<core::Listener> sockets) {
  if (sockets.empty() || thread_.joinable()) return false;
  const uint64_t now = base::BootNanoseconds();
  if (now < next_) {
    if (timer_ == 0) {
      timer_ = loop_.After(absl::Nanoseconds(static_cast<int64_t>(next_ - now)), [this] {
        timer_ = 0;
        again_();
      });
    }
    return false;
  }
  began_ = now;
  walked_ = {};
  walked_.sockets = std::move(sockets);
  absl::StatusOr<std::thread> thread = base::StartThread("npg-owners", [this] {
    // No limit in time: nothing waits for it.
    node::OwnerBudget budget;
    budget.descriptors_of_process = budget.descriptors = size_t{64} << 20;
    budget.time = absl::Minutes(10);
    budget.stop = &stop_;
    walked_.gaps = node::FillOwners(walked_.sockets, "/proc", budget, &walked_.holders);
    constexpr uint64_t kOne = 1;
    [[maybe_unused]] const ssize_t written = write(done_.get(), &kOne, sizeof(kOne));
  });
  if (!thread.ok()) {
    spdlog::warn("look for the owners of listeners: {}", std::string(thread.status().message()));
    return false;
  }
  thread_ = *std::move(thread);
  return true;
}

void OwnerSearch::Finish() {
  uint64_t count = 0;
  if (read(done_.get(), &count, sizeof(count)) != sizeof(count)) return;
  thread_.join();
  const uint64_t now = base::BootNanoseconds();
  next_ = now + 9 * (now - began_);
  const Found found = std::exchange(walked_, {});
  found_(found);
}

}  // namespace npg::controller
