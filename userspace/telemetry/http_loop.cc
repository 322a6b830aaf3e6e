// SPDX-License-Identifier: Apache-2.0
#include "telemetry/http_loop.h"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "telemetry/http_message.h"
#include "telemetry/http_server.h"
#include "telemetry/http_worker.h"

namespace npg::telemetry {
namespace {

constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr absl::Duration kDrainLimit = absl::Seconds(1);
constexpr absl::Duration kAcceptPause = absl::Milliseconds(200);

// Memory that runs out for one response is that request's error alone.
HttpResponse Call(const HttpRoute& route, const HttpRequest& request) {
  try {
    return route.handler(request);
  } catch (const std::exception& error) {
    return TextResponse(500, absl::StrCat("cannot answer: ", error.what()));
  }
}

const HttpRoute* Find(const std::vector<HttpRoute>& routes, absl::string_view path) {
  const auto it = std::find_if(routes.begin(), routes.end(),
                               [path](const HttpRoute& route) { return route.path == path; });
  return it == routes.end() ? nullptr : &*it;
}

}  // namespace

struct HttpLoop::Mailbox {
  void Wake() const {
    const uint64_t one = 1;
    // Fails only when it is signalled already.
    [[maybe_unused]] const ssize_t written = write(event.get(), &one, sizeof(one));
  }
  void Put(Id id, HttpResponse response) {
    {
      const absl::MutexLock lock(&mutex);
      answers.emplace_back(id, std::move(response));
    }
    Wake();
  }

  base::UniqueFd event;
  std::atomic<bool> stop = false;
  absl::Mutex mutex;
  std::vector<std::pair<Id, HttpResponse>> answers ABSL_GUARDED_BY(mutex);
};

HttpLoop::HttpLoop(base::UniqueFd listener, std::vector<HttpRoute> routes, const HttpLimits& limits,
                   bool any_host)
    : listener_(std::move(listener)),
      routes_(std::make_shared<const std::vector<HttpRoute>>(std::move(routes))),
      limits_(limits),
      any_host_(any_host),
      mailbox_(std::make_shared<Mailbox>()) {}

HttpLoop::~HttpLoop() = default;

absl::StatusOr<std::unique_ptr<HttpLoop>> HttpLoop::Create(base::UniqueFd listener,
                                                           std::vector<HttpRoute> routes,
                                                           const HttpLimits& limits,
                                                           bool any_host) {
  std::unique_ptr<HttpLoop> loop(
      new HttpLoop(std::move(listener), std::move(routes), limits, any_host));
  NPG_RETURN_IF_ERROR(loop->Register());
  return loop;
}

absl::Status HttpLoop::Register() {
  mailbox_->event.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!mailbox_->event) return base::ErrnoStatus(errno, "create an eventfd");
  auto loop = base::EventLoop::Create();
  if (!loop.ok()) return loop.status();
  loop_ = *std::move(loop);
  auto worker = HttpWorker::Start(limits_.waiting);
  if (!worker.ok()) return worker.status();
  worker_ = *std::move(worker);
  NPG_RETURN_IF_ERROR(loop_->AddFd(mailbox_->event.get(), EPOLLIN, [this](uint32_t) { OnMail(); }));
  return loop_->AddFd(listener_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
}

void HttpLoop::Run() {
  const absl::Status status = loop_->Run();
  if (!status.ok()) spdlog::error("the HTTP server ends: {}", std::string(status.message()));
  connections_.clear();
}

void HttpLoop::Stop() {
  mailbox_->stop = true;
  mailbox_->Wake();
}

void HttpLoop::Accept() {
  constexpr int kAtOnce = 16;
  for (int i = 0; i < kAtOnce; ++i) {
    base::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno != EAGAIN) PauseAccepting();
      return;
    }
    if (connections_.size() >= limits_.connections && !MakeRoom()) continue;
    const Id id = next_id_++;
    Connection& connection = connections_[id];
    connection.fd = std::move(fd);
    connection.waiting_since = absl::Now();
    SetDeadline(id, connection, limits_.head);
    // The request tends to be there already.
    if (Read(id, connection)) Process(id, connection);
  }
}

// Out of descriptors or memory: to ask again at once would be a busy loop.
void HttpLoop::PauseAccepting() {
  MakeRoom();
  loop_->RemoveFd(listener_.get());
  loop_->After(kAcceptPause, [this] {
    const absl::Status status =
        loop_->AddFd(listener_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
    if (!status.ok()) spdlog::error("HTTP: {}", std::string(status.message()));
  });
}

// Closes the connection whose client has kept us waiting longest. False when
// all of them are being answered.
bool HttpLoop::MakeRoom() {
  std::optional<Id> victim;
  absl::Time since = absl::InfiniteFuture();
  for (const auto& [id, connection] : connections_) {
    const bool waiting =
        connection.phase == Phase::kReading || connection.phase == Phase::kDraining;
    if (!waiting || connection.waiting_since >= since) continue;
    victim = id;
    since = connection.waiting_since;
  }
  if (victim) Close(*victim);
  return victim.has_value();
}

void HttpLoop::Close(Id id) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  if (it->second.timer != 0) loop_->Cancel(it->second.timer);
  if (it->second.events != 0) loop_->RemoveFd(it->second.fd.get());
  connections_.erase(it);
}

void HttpLoop::SetDeadline(Id id, Connection& connection, absl::Duration limit) {
  if (connection.timer != 0) loop_->Cancel(connection.timer);
  connection.timer = loop_->After(limit, [this, id] { OnDeadline(id); });
}

void HttpLoop::WaitFor(Id id, Connection& connection, uint32_t events) {
  if (connection.events == events) return;
  if (connection.events != 0) loop_->RemoveFd(connection.fd.get());
  connection.events = 0;
  const absl::Status status = loop_->AddFd(
      connection.fd.get(), events, [this, id](uint32_t happened) { OnEvents(id, happened); });
  if (status.ok()) {
    connection.events = events;
  } else {
    Close(id);
  }
}

void HttpLoop::OnEvents(Id id, uint32_t events) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  Connection& connection = it->second;
  switch (connection.phase) {
    case Phase::kReading:
      if (Read(id, connection)) Process(id, connection);
      return;
    case Phase::kAnswering:
      if ((events & (EPOLLHUP | EPOLLERR)) != 0) Close(id);
      return;
    case Phase::kWriting:
      Write(id, connection);
      return;
    case Phase::kDraining:
      Drain(id, connection);
      return;
  }
}

void HttpLoop::OnDeadline(Id id) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  Connection& connection = it->second;
  connection.timer = 0;
  if (connection.phase == Phase::kReading && !connection.input.empty()) {
    Refuse(id, connection, TextResponse(408, "the request took too long"));
  } else if (connection.phase == Phase::kAnswering) {
    HttpResponse response = TextResponse(503, "the node could not be read in time");
    response.retry_after = "5";
    Refuse(id, connection, std::move(response));
  } else {
    // By a reset: the kernel would keep what it has of the response, and try on.
    const linger now{1, 0};
    setsockopt(connection.fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    Close(id);
  }
}

void HttpLoop::OnMail() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = read(mailbox_->event.get(), &count, sizeof(count));
  if (mailbox_->stop) {
    loop_->Stop();
    return;
  }
  std::vector<std::pair<Id, HttpResponse>> answers;
  {
    const absl::MutexLock lock(&mailbox_->mutex);
    answers.swap(mailbox_->answers);
  }
  for (const auto& [id, response] : answers) {
    const auto it = connections_.find(id);
    // It may be gone, or have been told that it took too long.
    if (it == connections_.end() || it->second.phase != Phase::kAnswering) continue;
    Respond(id, it->second, response);
  }
}

bool HttpLoop::Read(Id id, Connection& connection) {
  std::array<char, 2048> buffer{};
  if (connection.input.find(kHeadEnd) != std::string::npos) return true;
  while (connection.input.size() <= kMaxHttpHead) {
    const ssize_t size = recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
    if (size > 0) {
      if (connection.input.empty() && connection.requests > 0) {
        SetDeadline(id, connection, limits_.head);
      }
      connection.input.append(buffer.data(), static_cast<size_t>(size));
      if (connection.input.find(kHeadEnd) != std::string::npos) return true;
      continue;
    }
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return true;
    Close(id);
    return false;
  }
  return true;
}

// Reads and forgets, so that the client can read what it was told before it
// learns that we have closed.
void HttpLoop::Drain(Id id, Connection& connection) {
  std::array<char, 2048> buffer{};
  constexpr int kAtOnce = 16;
  for (int i = 0; i < kAtOnce; ++i) {
    const ssize_t size = recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
    if (size > 0 || (size < 0 && errno == EINTR)) continue;
    if (size < 0 && errno == EAGAIN) return;
    Close(id);
    return;
  }
}

void HttpLoop::Process(Id id, Connection& connection) {
  const size_t end = connection.input.find(kHeadEnd);
  const size_t size = end == std::string::npos ? connection.input.size() : end + kHeadEnd.size();
  if (size > kMaxHttpHead) {
    Refuse(id, connection, TextResponse(431, "more than 8192 bytes of headers"));
    return;
  }
  if (end == std::string::npos) {
    WaitFor(id, connection, EPOLLIN);
    return;
  }
  std::variant<HttpRequest, HttpResponse> parsed =
      ParseHttpHead(absl::string_view(connection.input).substr(0, size));
  connection.input.erase(0, size);
  ++connection.requests;
  if (HttpResponse* const refused = std::get_if<HttpResponse>(&parsed)) {
    Refuse(id, connection, std::move(*refused));
    return;
  }
  connection.request = std::get<HttpRequest>(std::move(parsed));
  connection.keep_alive = connection.request.keep_alive && connection.requests < limits_.requests;
  Dispatch(id, connection);
}

void HttpLoop::Dispatch(Id id, Connection& connection) {
  if (!any_host_ && !IsTrustedHost(connection.request.host)) {
    Respond(id, connection,
            TextResponse(421, "ask by address or as localhost: other names may be anybody's"));
    return;
  }
  const HttpRoute* const route = Find(*routes_, connection.request.path);
  if (route == nullptr) {
    Respond(id, connection, TextResponse(404, "nothing here; see /"));
    return;
  }
  if (!route->slow) {
    Respond(id, connection, Call(*route, connection.request));
    return;
  }
  const bool queued = worker_->Enqueue(
      [routes = routes_, route, request = connection.request, id, mailbox = mailbox_] {
        if (!mailbox->stop) mailbox->Put(id, Call(*route, request));
      });
  if (!queued) {
    HttpResponse response = TextResponse(503, "too many ask at once");
    response.retry_after = "1";
    Respond(id, connection, response);
    return;
  }
  connection.phase = Phase::kAnswering;
  SetDeadline(id, connection, limits_.answer);
  WaitFor(id, connection, EPOLLERR);
}

// Answers and ends the connection: what else it brings is not to be read as HTTP.
void HttpLoop::Refuse(Id id, Connection& connection, HttpResponse response) {
  connection.keep_alive = false;
  connection.request.head = false;
  Respond(id, connection, response);
}

void HttpLoop::Respond(Id id, Connection& connection, const HttpResponse& response) {
  connection.head = HttpHead(response, connection.keep_alive, absl::Now());
  connection.body = connection.request.head ? nullptr : response.body;
  connection.sent = 0;
  connection.phase = Phase::kWriting;
  SetDeadline(id, connection, limits_.write);
  Write(id, connection);
}

void HttpLoop::Write(Id id, Connection& connection) {
  const absl::string_view body =
      connection.body == nullptr ? absl::string_view() : absl::string_view(*connection.body);
  const size_t total = connection.head.size() + body.size();
  while (connection.sent < total) {
    absl::string_view head = connection.head;
    absl::string_view rest = body;
    head.remove_prefix(std::min(connection.sent, head.size()));
    rest.remove_prefix(connection.sent - (connection.head.size() - head.size()));
    // sendmsg() does not write to what an iovec points to.
    std::array<iovec, 2> parts = {
        iovec{const_cast<char*>(head.data()), head.size()},   // NOLINT(*-const-cast)
        iovec{const_cast<char*>(rest.data()), rest.size()}};  // NOLINT(*-const-cast)
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t size = sendmsg(connection.fd.get(), &message, MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) {
      WaitFor(id, connection, EPOLLOUT);
      return;
    }
    if (size < 0) {
      Close(id);
      return;
    }
    connection.sent += static_cast<size_t>(size);
  }
  AfterResponse(id, connection);
}

void HttpLoop::AfterResponse(Id id, Connection& connection) {
  connection.head.clear();
  connection.body.reset();
  connection.waiting_since = absl::Now();
  if (!connection.keep_alive) {
    shutdown(connection.fd.get(), SHUT_WR);
    connection.input.clear();
    connection.phase = Phase::kDraining;
    SetDeadline(id, connection, kDrainLimit);
    WaitFor(id, connection, EPOLLIN);
    return;
  }
  connection.phase = Phase::kReading;
  if (connection.input.empty()) {
    SetDeadline(id, connection, limits_.idle);
    WaitFor(id, connection, EPOLLIN);
    return;
  }
  // Asked before the answer was read. Not from here: a client that sends a
  // thousand requests in one go is to take its turns like everybody.
  SetDeadline(id, connection, limits_.head);
  WaitFor(id, connection, EPOLLIN | EPOLLOUT);
}

}  // namespace npg::telemetry
