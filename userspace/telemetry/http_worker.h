// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TELEMETRY_HTTP_WORKER_H_
#define NODEPORT_GUARD_TELEMETRY_HTTP_WORKER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"

namespace npg::telemetry {

// Starts a thread that no signal reaches: they are for the controller.
absl::StatusOr<std::thread> StartThread(const std::string& name, std::function<void()> body);

// A thread for what may take long, one thing after the other.
class HttpWorker {
 public:
  // At most `capacity` jobs wait.
  static absl::StatusOr<std::unique_ptr<HttpWorker>> Start(size_t capacity);
  // Forgets the jobs that wait. One that runs is left to itself: it is not
  // waited for, so jobs own what they use.
  ~HttpWorker();
  HttpWorker(const HttpWorker&) = delete;
  HttpWorker& operator=(const HttpWorker&) = delete;

  // False, and the job is dropped, when too many wait.
  bool Enqueue(std::function<void()> job);

 private:
  struct State;
  HttpWorker(std::shared_ptr<State> state, std::thread thread)
      : state_(std::move(state)), thread_(std::move(thread)) {}

  static void Work(State& state);

  const std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace npg::telemetry

#endif  // NODEPORT_GUARD_TELEMETRY_HTTP_WORKER_H_
