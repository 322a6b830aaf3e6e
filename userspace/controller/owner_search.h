// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_OWNER_SEARCH_H_
#define NODEPORT_GUARD_CONTROLLER_OWNER_SEARCH_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "core/listener.h"
#include "node/owners.h"

namespace npg::controller {

// Looks for the owners of sockets in /proc, on a thread of its own while the loop runs. Sockets
// that come and go may not keep it busy: it takes a tenth of a processor at most.
class OwnerSearch {
 public:
  struct Found {
    std::vector<core::Listener> sockets;
    node::Holders holders;
    node::OwnerGaps gaps;
  };

  // `loop` outlives this. Both are called from the loop: `found` with each result; `again` when
  // Start() may begin that did not, because it was too soon.
  OwnerSearch(base::EventLoop& loop, std::function<void(const Found&)> found,
              std::function<void()> again);
  // Ends the thread.
  ~OwnerSearch();
  OwnerSearch(const OwnerSearch&) = delete;
  OwnerSearch& operator=(const OwnerSearch&) = delete;

  // Once the loop is about to run, and before Start().
  absl::Status Follow();

  // Begins to look for the owners of these, if there are any, no search runs, and it is not too
  // soon. Returns whether it began.
  bool Start(std::vector<core::Listener> sockets);

 private:
  void Finish();

  base::EventLoop& loop_;
  const std::function<void(const Found&)> found_;
  const std::function<void()> again_;
  uint64_t began_ = 0;                  // CLOCK_BOOTTIME
  uint64_t next_ = 0;                   // not before that
  base::EventLoop::TimerId timer_ = 0;  // 0: not armed
  // The thread, while it runs; it alone uses walked_ then, and ends with a write to done_.
  std::thread thread_;
  Found walked_;
  base::UniqueFd done_;
  std::atomic<bool> stop_ = false;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_OWNER_SEARCH_H_
