// SPDX-License-Identifier: Apache-2.0
#include "testing/loop_thread.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace npg::testing {

LoopThread::LoopThread(std::unique_ptr<base::EventLoop> loop, base::UniqueFd wake)
    : loop_(std::move(loop)), wake_(std::move(wake)) {}

absl::StatusOr<std::unique_ptr<LoopThread>> LoopThread::Start() {
  auto loop = base::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  base::UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return base::ErrnoStatus(errno, "eventfd");
  std::unique_ptr<LoopThread> made(new LoopThread(*std::move(loop), std::move(wake)));
  LoopThread* const self = made.get();
  NPG_RETURN_IF_ERROR(
      self->loop_->AddFd(self->wake_.get(), EPOLLIN, [self](uint32_t) { self->RunTasks(); }));
  self->thread_ = std::thread([self] {
    // Without SIGPIPE, write(), which OpenSSL calls, returns an error if the peer has closed.
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    (void)self->loop_->Run();
  });
  return made;
}

LoopThread::~LoopThread() {
  if (!thread_.joinable()) return;
  Call([this] { loop_->Stop(); });
  thread_.join();
}

void LoopThread::Call(absl::FunctionRef<void()> work) {
  Task task{work};
  std::unique_lock lock(mutex_);
  tasks_.push_back(&task);
  eventfd_write(wake_.get(), 1);
  done_.wait(lock, [&task] { return task.done; });
}

void LoopThread::RunTasks() {
  eventfd_t count = 0;
  eventfd_read(wake_.get(), &count);
  std::unique_lock lock(mutex_);
  const std::vector<Task*> tasks = std::exchange(tasks_, {});
  lock.unlock();
  for (Task* const task : tasks) task->work();
  lock.lock();
  for (Task* const task : tasks) task->done = true;
  done_.notify_all();
}

}  // namespace npg::testing
