// SPDX-License-Identifier: Apache-2.0
#include "serve/http_connections.h"

#include <microhttpd.h>
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
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "serve/http_message.h"

namespace npg::serve {
namespace {

// The maximum size of a request before its body.
constexpr size_t kMaxHead = size_t{8} * 1024;
// Per connection: its request, libmicrohttpd's parsed header fields and cookies, and the
// header of the response.
constexpr size_t kMemory = size_t{32} * 1024;

absl::string_view Field(MHD_Connection* connection, const char* name) {
  const char* value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
  return value == nullptr ? "" : value;
}

struct DestroyResponse {
  void operator()(MHD_Response* response) const { MHD_destroy_response(response); }
};

// Valid as long as `from` is unchanged.
std::unique_ptr<MHD_Response, DestroyResponse> MakeResponse(HttpResponse& from) {
  std::unique_ptr<MHD_Response, DestroyResponse> response(
      MHD_create_response_from_buffer(from.body.size(), from.body.data(), MHD_RESPMEM_PERSISTENT));
  const auto add = [&response](const char* name, const std::string& value) {
    if (response && MHD_add_response_header(response.get(), name, value.c_str()) != MHD_YES) {
      response.reset();
    }
  };
  add("Content-Type", from.content_type);
  add("Content-Security-Policy", from.security_policy);
  add("X-Content-Type-Options", "nosniff");
  add("Cache-Control", "no-store");
  add("Connection", "close");
  if (from.status == MHD_HTTP_METHOD_NOT_ALLOWED) add("Allow", "GET, HEAD");
  return response;
}

}  // namespace

// Passes replies from other threads to the thread of the connections.
struct HttpConnections::Inbox {
  void Add(Connection* connection, HttpResponse response) {
    {
      const std::lock_guard lock(mutex);
      replies.emplace_back(connection, std::move(response));
    }
    eventfd_write(wake.get(), 1);
  }
  void Stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    eventfd_write(wake.get(), 1);
  }

  base::UniqueFd wake;  // an eventfd, readable when there is something new
  std::mutex mutex;
  std::vector<std::pair<Connection*, HttpResponse>> replies;
  bool stopping = false;
};

struct HttpConnections::Callbacks {
  static void Notify(void* self, MHD_Connection* handle, void** context,
                     MHD_ConnectionNotificationCode code) noexcept {
    auto& connections = static_cast<HttpConnections*>(self)->connections_;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
      connections.remove_if([context](const Connection& one) { return &one == *context; });
      return;
    }
    const HttpLimits& limits = static_cast<HttpConnections*>(self)->limits_;
    const int fd = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    *context = &connections.emplace_back(Connection{handle, fd, absl::Now()});
    // Longer than the deadlines. It is set because libmicrohttpd, after
    // MHD_resume_connection(), begins the response at once only for connections with their
    // own timeout. From others it reads first, and closes if the client has shut down its
    // direction.
    const absl::Duration timeout = std::max(limits.request, limits.response) + absl::Seconds(2);
    MHD_set_connection_option(handle, MHD_CONNECTION_OPTION_TIMEOUT,
                              static_cast<unsigned int>(absl::ToInt64Seconds(timeout)));
  }

  // Called after the header, for each part of a body, and after the body.
  static MHD_Result Handle(void* self, MHD_Connection* handle, const char* url, const char* method,
                           const char* /*version*/, const char* /*body*/, size_t* body_size,
                           void** context) noexcept {
    auto* const connections = static_cast<HttpConnections*>(self);
    Connection& connection = *static_cast<Connection*>(
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context);
    // It was cut off meanwhile, or the memory for the response was missing.
    if (connection.stage != Stage::kReading) return MHD_NO;
    HttpRequest request{method, url, std::string(Field(handle, "Host")),
                        absl::StrContains(Field(handle, "Accept"), "application/json")};
    const auto* const head =
        MHD_get_connection_info(handle, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const bool has_body = request.method != "GET" && request.method != "HEAD";
    // Drop the body as it arrives: closing with unread data would reset the connection, and
    // the client would lose the response.
    if (has_body && (*context == nullptr || *body_size > 0)) {
      *context = &connection;
      *body_size = 0;
      return MHD_YES;
    }
    MHD_suspend_connection(handle);
    connection.stage = Stage::kAnswering;
    HttpConnections::Reply reply = [inbox = connections->inbox_, &connection](HttpResponse made) {
      inbox->Add(&connection, std::move(made));
    };
    if (head->header_size > kMaxHead) {
      reply(TextResponse(MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long"));
    } else {
      connections->serve_(request, std::move(reply));
    }
    return MHD_YES;
  }
};

void HttpConnections::StopDaemon::operator()(MHD_Daemon* daemon) const { MHD_stop_daemon(daemon); }

absl::StatusOr<std::unique_ptr<HttpConnections>> HttpConnections::Start(base::UniqueFd listener,
                                                                        const HttpLimits& limits,
                                                                        Serve serve) {
  auto inbox = std::make_shared<Inbox>();
  inbox->wake.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!inbox->wake) return base::ErrnoStatus(errno, "eventfd");
  std::unique_ptr<HttpConnections> connections(
      new HttpConnections(std::move(listener), std::move(inbox), limits, std::move(serve)));
  if (absl::Status status = connections->Start(); !status.ok()) return status;
  return connections;
}

absl::Status HttpConnections::Start() {
  errno = 0;
  daemon_.reset(MHD_start_daemon(
      MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr,
      &Callbacks::Handle, this, MHD_OPTION_NOTIFY_CONNECTION, &Callbacks::Notify, this,
      // The limit includes connections that were just cut off.
      MHD_OPTION_CONNECTION_LIMIT, static_cast<unsigned int>(2 * limits_.connections),
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, kMemory, MHD_OPTION_END));
  if (!daemon_) return base::ErrnoStatus(errno != 0 ? errno : ENOMEM, "start libmicrohttpd");
  absl::StatusOr<std::thread> thread = base::StartThread("npg-http", [this] { Run(); });
  if (!thread.ok()) return thread.status();
  thread_ = *std::move(thread);
  return absl::OkStatus();
}

HttpConnections::~HttpConnections() {
  inbox_->Stop();
  if (thread_.joinable()) thread_.join();
  for (Connection& connection : connections_) {
    // libmicrohttpd cannot stop with suspended connections.
    if (connection.stage == Stage::kAnswering) MHD_resume_connection(connection.handle);
    CutOff(connection);
  }
  daemon_.reset();  // closes them, before the members that its callbacks use are destroyed
}

void HttpConnections::Run() {
  while (true) {
    const bool client = Wait();
    if (!TakeReplies()) return;
    CutOffLate();
    if (client) Accept();
    MHD_run(daemon_.get());
  }
}

// False when it is time to stop.
bool HttpConnections::TakeReplies() {
  std::vector<std::pair<Connection*, HttpResponse>> replies;
  {
    const std::lock_guard lock(inbox_->mutex);
    if (inbox_->stopping) return false;
    replies.swap(inbox_->replies);
  }
  // A suspended connection is never closed, so all of these exist.
  for (auto& [connection, response] : replies) Send(*connection, std::move(response));
  return true;
}

void HttpConnections::Send(Connection& connection, HttpResponse response) {
  connection.response = std::move(response);
  connection.stage = Stage::kWriting;
  connection.since = absl::Now();
  // On failure, Handle() is called again and closes the connection.
  if (const auto made = MakeResponse(connection.response)) {
    MHD_queue_response(connection.handle, static_cast<unsigned int>(connection.response.status),
                       made.get());
  }
  MHD_resume_connection(connection.handle);
}

bool HttpConnections::Wait() {
  const absl::Time now = absl::Now();
  absl::Time accept_from = accept_from_;
  if (const Connection* slowest = Slowest(); slowest != nullptr && IsFull()) {
    accept_from = std::max(accept_from, slowest->since + limits_.patience);
  }
  const bool accepting = accept_from <= now;
  absl::Time until = accepting ? now + absl::Hours(1) : accept_from;
  for (const Connection& connection : connections_) until = std::min(until, Deadline(connection));
  MHD_UNSIGNED_LONG_LONG pending = 0;  // milliseconds
  if (MHD_get_timeout(daemon_.get(), &pending) == MHD_YES) {
    until = std::min(until, now + absl::Milliseconds(pending));
  }
  const int epoll = MHD_get_daemon_info(daemon_.get(), MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
  std::array<pollfd, 3> fds = {{{inbox_->wake.get(), POLLIN, 0},
                                {epoll, POLLIN, 0},
                                {accepting ? listener_.get() : -1, POLLIN, 0}}};
  const absl::Duration wait = absl::Ceil(until - now, absl::Milliseconds(1));
  poll(fds.data(), fds.size(),
       static_cast<int>(absl::ToInt64Milliseconds(std::max(wait, absl::ZeroDuration()))));
  eventfd_t count = 0;
  if (fds[0].revents != 0) eventfd_read(inbox_->wake.get(), &count);
  return fds[2].revents != 0;
}

void HttpConnections::Accept() {
  const bool full = IsFull();
  Connection* const slowest = full ? Slowest() : nullptr;
  // The slowest connection may have changed since the wait began.
  if (slowest != nullptr && absl::Now() - slowest->since < limits_.patience) return;
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  base::UniqueFd fd(accept4(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size,
                            SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) {
    // Without descriptors, accept() fails at once, so pause.
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      accept_from_ = absl::Now() + absl::Milliseconds(100);
    }
    return;
  }
  if (full && slowest == nullptr) return;  // closes `fd`: the server is answering all others
  if (slowest != nullptr) CutOff(*slowest);
  MHD_add_connection(daemon_.get(), fd.Release(), reinterpret_cast<const sockaddr*>(&address),
                     size);
}

absl::Time HttpConnections::Deadline(const Connection& connection) const {
  switch (connection.stage) {
    case Stage::kReading:
      return connection.since + limits_.request;
    case Stage::kWriting:
      return connection.since + limits_.response;
    case Stage::kAnswering:  // the server causes the wait
    case Stage::kCutOff:
      break;
  }
  return absl::InfiniteFuture();
}

void HttpConnections::CutOffLate() {
  const absl::Time now = absl::Now();
  for (Connection& connection : connections_) {
    if (Deadline(connection) <= now) CutOff(connection);
  }
}

// Shuts the connection down; libmicrohttpd then closes it.
void HttpConnections::CutOff(Connection& connection) {
  if (connection.stage == Stage::kWriting) {
    // Reset: a client that does not read would never reach the end of the stream.
    constexpr linger kReset{1, 0};
    setsockopt(connection.fd, SOL_SOCKET, SO_LINGER, &kReset, sizeof(kReset));
  }
  connection.stage = Stage::kCutOff;
  shutdown(connection.fd, SHUT_RDWR);
}

bool HttpConnections::IsFull() const {
  const auto there = std::count_if(
      connections_.begin(), connections_.end(),
      [](const Connection& connection) { return connection.stage != Stage::kCutOff; });
  return static_cast<size_t>(there) >= limits_.connections;
}

HttpConnections::Connection* HttpConnections::Slowest() {
  Connection* slowest = nullptr;
  for (Connection& connection : connections_) {
    if (Deadline(connection) == absl::InfiniteFuture()) continue;
    if (slowest == nullptr || connection.since < slowest->since) slowest = &connection;
  }
  return slowest;
}

}  // namespace npg::serve
