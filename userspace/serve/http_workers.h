// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTTP_WORKERS_H_
#define NODEPORT_GUARD_SERVE_HTTP_WORKERS_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace npg::serve {

// Threads that run tasks in order.
class HttpWorkers {
 public:
  using Task = std::function<void()>;

  static absl::StatusOr<std::unique_ptr<HttpWorkers>> Start(size_t threads);
  // Waits for running tasks, and drops those that have not begun.
  ~HttpWorkers();
  HttpWorkers(const HttpWorkers&) = delete;
  HttpWorkers& operator=(const HttpWorkers&) = delete;

  // May be called on any thread.
  void Run(Task task);

 private:
  HttpWorkers() = default;

  void Work();

  std::mutex mutex_;
  std::condition_variable change_;  // of the members below
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_WORKERS_H_
