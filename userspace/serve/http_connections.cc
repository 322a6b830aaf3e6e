// SPDX-License-Identifier: Apache-2.0
#include "serve/http_connections.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "serve/http_stream.h"

namespace npg::serve {
absl::StatusOr<std::unique_ptr<HttpConnections>> HttpConnections::Start(base::UniqueFd listener,
                                                                        const HttpLimits& limits,
                                                                        Serve serve) {
  base::UniqueFd stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) return base::ErrnoStatus(errno, "eventfd");
  std::unique_ptr<HttpConnections> server(
      new HttpConnections(std::move(listener), std::move(stop), limits, std::move(serve)));
  HttpConnections* const running = server.get();
  for (size_t i = 0; i <= limits.workers; ++i) {
    absl::StatusOr<std::thread> thread = base::StartThread("npg-http", [running, i] {
      if (i == 0) {
        running->Accept();
      } else {
        running->Work();
      }
    });
    if (!thread.ok()) return thread.status();
    server->threads_.push_back(*std::move(thread));
  }
  return server;
}

HttpConnections::~HttpConnections() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  eventfd_write(stop_.get(), 1);
  for (std::thread& thread : threads_) thread.join();
}

void HttpConnections::Accept() {
  // Also how often those who wait for a worker are looked after.
  constexpr int kLookMilliseconds = 50;
  // Without descriptors accept() fails at once, again and again.
  constexpr int kPauseMilliseconds = 100;
  while (true) {
    bool crowded = false;
    {
      const std::lock_guard lock(mutex_);
      crowded = waiting_ > 0;
    }
    std::array<pollfd, 2> fds = {{{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
    poll(fds.data(), fds.size(), crowded ? kLookMilliseconds : -1);
    if (fds[1].revents != 0) return;
    if (fds[0].revents != 0) {
      base::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd) {
        Take(std::move(fd));
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        poll(&fds[1], 1, kPauseMilliseconds);
      }
    }
    MakeRoom();
  }
}

void HttpConnections::Take(base::UniqueFd fd) {
  const std::lock_guard lock(mutex_);
  // One that is cut off is as good as gone.
  if (connections_.size() >= limits_.connections && !CutOffSlowest()) return;  // closes `fd`
  connections_.push_back({std::move(fd), absl::Now(), Stage::kWaiting});
  ++waiting_;
  work_.notify_one();
}

void HttpConnections::MakeRoom() {
  const std::lock_guard lock(mutex_);
  if (waiting_ > 0) CutOffSlowest();
}

bool HttpConnections::CutOffSlowest() {
  const absl::Time now = absl::Now();
  Connection* slowest = nullptr;
  for (Connection& connection : connections_) {
    const bool theirs = connection.stage == Stage::kReading || connection.stage == Stage::kWriting;
    if (!theirs || now - connection.since < limits_.patience) continue;
    if (slowest == nullptr || connection.since < slowest->since) slowest = &connection;
  }
  if (slowest == nullptr) return false;
  slowest->stage = Stage::kCutOff;
  shutdown(slowest->fd.get(), SHUT_RDWR);  // wakes its worker, which closes it
  return true;
}

HttpConnections::Connections::iterator HttpConnections::FirstWaiting() {
  return std::find_if(connections_.begin(), connections_.end(), [](const Connection& connection) {
    return connection.stage == Stage::kWaiting;
  });
}

HttpConnections::Connections::iterator HttpConnections::Next() {
  std::unique_lock lock(mutex_);
  work_.wait(lock, [this] { return stopping_ || waiting_ > 0; });
  if (stopping_) return connections_.end();
  const auto next = FirstWaiting();
  next->stage = Stage::kReading;
  next->since = absl::Now();
  --waiting_;
  return next;
}

void HttpConnections::SetStage(Connection& connection, Stage stage) {
  const std::lock_guard lock(mutex_);
  if (connection.stage == Stage::kCutOff) return;
  connection.stage = stage;
  connection.since = absl::Now();
}

void HttpConnections::Work() {
  while (true) {
    const auto connection = Next();
    {
      const std::lock_guard lock(mutex_);
      if (connection == connections_.end()) return;
    }
    HttpStream stream(connection->fd.get(), stop_.get(), limits_.request, limits_.response,
                      [this, &connection] { SetStage(*connection, Stage::kWriting); });
    serve_(stream, [this, &connection] { SetStage(*connection, Stage::kAnswering); });
    const std::lock_guard lock(mutex_);
    connections_.erase(connection);
  }
}

}  // namespace npg::serve
