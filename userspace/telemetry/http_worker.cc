// SPDX-License-Identifier: Apache-2.0
#include "telemetry/http_worker.h"

#include <pthread.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigset_t's functions are POSIX

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace npg::telemetry {

absl::StatusOr<std::thread> StartThread(const std::string& name, std::function<void()> body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  absl::StatusOr<std::thread> thread;
  try {
    thread = std::thread([name, body = std::move(body)] {
      pthread_setname_np(pthread_self(), name.c_str());
      body();
    });
  } catch (const std::system_error& error) {
    thread = absl::ResourceExhaustedError(absl::StrCat("start a thread: ", error.code().message()));
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return thread;
}

struct HttpWorker::State {
  explicit State(size_t most) : capacity(most) {}

  bool Ready() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return stop || !jobs.empty(); }

  const size_t capacity;
  absl::Mutex mutex;
  std::deque<std::function<void()>> jobs ABSL_GUARDED_BY(mutex);
  bool stop ABSL_GUARDED_BY(mutex) = false;
  bool busy ABSL_GUARDED_BY(mutex) = false;
};

void HttpWorker::Work(State& state) {
  while (true) {
    std::function<void()> job;
    {
      const absl::MutexLock lock(&state.mutex);
      state.busy = false;
      state.mutex.Await(absl::Condition(&state, &State::Ready));
      if (state.stop) return;
      job = std::move(state.jobs.front());
      state.jobs.pop_front();
      state.busy = true;
    }
    job();
  }
}

absl::StatusOr<std::unique_ptr<HttpWorker>> HttpWorker::Start(size_t capacity) {
  auto state = std::make_shared<State>(capacity);
  absl::StatusOr<std::thread> thread = StartThread("npg-http-work", [state] { Work(*state); });
  if (!thread.ok()) return thread.status();
  return std::unique_ptr<HttpWorker>(new HttpWorker(std::move(state), *std::move(thread)));
}

HttpWorker::~HttpWorker() {
  std::deque<std::function<void()>> forgotten;
  bool busy = false;
  {
    const absl::MutexLock lock(&state_->mutex);
    state_->stop = true;
    busy = state_->busy;
    forgotten.swap(state_->jobs);
  }
  if (busy) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

bool HttpWorker::Enqueue(std::function<void()> job) {
  const absl::MutexLock lock(&state_->mutex);
  if (state_->stop || state_->jobs.size() >= state_->capacity) return false;
  state_->jobs.push_back(std::move(job));
  return true;
}

}  // namespace npg::telemetry
