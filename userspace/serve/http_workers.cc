// SPDX-License-Identifier: Apache-2.0
#include "serve/http_workers.h"

#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/thread.h"

namespace npg::serve {

absl::StatusOr<std::unique_ptr<HttpWorkers>> HttpWorkers::Start(size_t threads) {
  std::unique_ptr<HttpWorkers> workers(new HttpWorkers());
  for (size_t i = 0; i < threads; ++i) {
    absl::StatusOr<std::thread> thread =
        base::StartThread("npg-http", [running = workers.get()] { running->Work(); });
    if (!thread.ok()) return thread.status();
    workers->threads_.push_back(*std::move(thread));
  }
  return workers;
}

HttpWorkers::~HttpWorkers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  change_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void HttpWorkers::Run(Task task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  change_.notify_one();
}

void HttpWorkers::Work() {
  std::unique_lock lock(mutex_);
  while (true) {
    change_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (stopping_) return;
    const Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

}  // namespace npg::serve
