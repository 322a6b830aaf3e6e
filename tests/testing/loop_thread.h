// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_LOOP_THREAD_H_
#define NODEPORT_GUARD_TESTS_TESTING_LOOP_THREAD_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace npg::testing {

// An event loop on its own thread, on which other threads can run functions.
class LoopThread {
 public:
  static absl::StatusOr<std::unique_ptr<LoopThread>> Start();
  // Stops the loop and joins the thread.
  ~LoopThread();
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  // Only for use on its thread, that is, within Call().
  base::EventLoop& loop() { return *loop_; }

  // Runs `work` on the thread and returns when it has run.
  void Call(absl::FunctionRef<void()> work);

 private:
  struct Task {
    absl::FunctionRef<void()> work;
    bool done = false;
  };

  LoopThread(std::unique_ptr<base::EventLoop> loop, base::UniqueFd wake);
  void RunTasks();

  const std::unique_ptr<base::EventLoop> loop_;
  const base::UniqueFd wake_;
  std::mutex mutex_;  // guards the tasks
  std::condition_variable done_;
  std::vector<Task*> tasks_;
  std::thread thread_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_LOOP_THREAD_H_
