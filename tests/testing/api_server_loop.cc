// SPDX-License-Identifier: Apache-2.0
#include "testing/api_server_loop.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "testing/api_connection.h"
#include "testing/api_handler.h"
#include "testing/api_query.h"
#include "testing/api_reply.h"
#include "testing/api_request.h"
#include "testing/api_server.h"
#include "testing/api_tls.h"
#include "testing/api_traffic.h"
#include "testing/loop_thread.h"

namespace npg::testing {
namespace {

using base::UniqueFd;

// The IP address in `storage`; its size.
socklen_t ParseAddress(const std::string& address, uint16_t port, sockaddr_storage& storage) {
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&storage);
  if (inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    return sizeof(sockaddr_in);
  }
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&storage);
  inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr);
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  return sizeof(sockaddr_in6);
}

void SetOption(int fd, int level, int option) {
  const int on = 1;
  setsockopt(fd, level, option, &on, sizeof(on));
}

}  // namespace

ApiServerLoop::ApiServerLoop(std::unique_ptr<LoopThread> thread, const ApiTls& tls,
                             TrafficLog& traffic, ApiAccess access)
    : tls_(tls), traffic_(traffic), handler_(std::move(access)), thread_(std::move(thread)) {}

absl::StatusOr<std::unique_ptr<ApiServerLoop>> ApiServerLoop::Make(const ApiTls& tls,
                                                                   TrafficLog& traffic,
                                                                   ApiAccess access) {
  auto thread = LoopThread::Start();
  if (!thread.ok()) return thread.status();
  return std::unique_ptr<ApiServerLoop>(
      new ApiServerLoop(*std::move(thread), tls, traffic, std::move(access)));
}

void ApiServerLoop::Do(absl::FunctionRef<void(ApiServerLoop&)> work) {
  thread_->Call([this, work] {
    work(*this);
    PumpAll();
  });
}

absl::StatusOr<uint16_t> ApiServerLoop::Listen(const std::string& address, uint16_t port) {
  const std::string name = absl::StrCat(address, " port ", port);
  sockaddr_storage storage{};
  auto* const any = reinterpret_cast<sockaddr*>(&storage);
  socklen_t size = ParseAddress(address, port, storage);
  UniqueFd fd(socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::ErrnoStatus(errno, "socket");
  SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR);
  if (bind(fd.get(), any, size) != 0) return base::ErrnoStatus(errno, "bind to " + name);
  if (listen(fd.get(), SOMAXCONN) != 0) return base::ErrnoStatus(errno, "listen on " + name);
  size = sizeof(storage);
  if (getsockname(fd.get(), any, &size) != 0) return base::ErrnoStatus(errno, "getsockname");
  listening_ = std::move(fd);
  NPG_RETURN_IF_ERROR(
      thread_->loop().AddFd(listening_.get(), EPOLLIN, [this](uint32_t) { Accept(); }));
  return ntohs(storage.ss_family == AF_INET
                   ? reinterpret_cast<const sockaddr_in*>(&storage)->sin_port
                   : reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port);
}

void ApiServerLoop::StopListening() {
  if (listening_) thread_->loop().RemoveFd(listening_.get());
  listening_.Reset();
  KillConnections();
}

void ApiServerLoop::KillConnections() {
  while (!connections_.empty()) Drop(connections_.begin()->first);
  traffic_.Update([this](Traffic& seen) {
    seen.open_connections -= static_cast<int>(frozen_.size() + mute_.size());
  });
  frozen_.clear();
  mute_.clear();
}

void ApiServerLoop::FreezeConnections() {
  for (auto& [fd, slot] : connections_) {
    thread_->loop().RemoveFd(fd);
    frozen_.push_back(std::move(slot.connection));
  }
  connections_.clear();
}

void ApiServerLoop::SendGoAway() {
  for (auto& [fd, slot] : connections_) slot.connection->GoAway();
}

void ApiServerLoop::Accept() {
  UniqueFd fd(accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  SetOption(fd.get(), IPPROTO_TCP, TCP_NODELAY);
  const bool keep = accepting_ != Accepting::kClose;
  traffic_.Update([keep](Traffic& seen) {
    ++seen.connections;
    if (keep) ++seen.open_connections;
  });
  if (!keep) return;
  if (accepting_ == Accepting::kMute) {
    mute_.push_back(std::move(fd));
    return;
  }
  const int number = fd.get();
  SslPtr ssl = tls_.Accept(certificate_, number);
  Slot& slot = connections_[number];
  slot.connection = std::make_unique<ApiConnection>(
      std::move(fd), std::move(ssl),
      [this](const ApiRequest& request) { return OnRequest(request); });
  Await(number, slot);
}

void ApiServerLoop::Await(int fd, Slot& slot) {
  const uint32_t events = slot.connection->wanted_events();
  if (events == slot.events) return;
  if (slot.events != 0) thread_->loop().RemoveFd(fd);
  slot.events = events;
  (void)thread_->loop().AddFd(fd, events, [this, fd](uint32_t) { OnReady(fd); });
}

void ApiServerLoop::OnReady(int fd) {
  Slot& slot = connections_.at(fd);
  if (slot.connection->OnReady()) {
    Await(fd, slot);
  } else {
    if (!slot.connection->is_open()) {
      traffic_.Update([](Traffic& seen) { ++seen.failed_handshakes; });
    }
    Drop(fd);
  }
}

void ApiServerLoop::Drop(int fd) {
  thread_->loop().RemoveFd(fd);
  connections_.erase(fd);
  traffic_.Update([](Traffic& seen) { --seen.open_connections; });
}

void ApiServerLoop::PumpAll() {
  std::vector<int> over;
  for (auto& [fd, slot] : connections_) {
    if (slot.connection->Pump()) {
      Await(fd, slot);
    } else {
      over.push_back(fd);
    }
  }
  for (const int fd : over) Drop(fd);
}

std::shared_ptr<ApiReply> ApiServerLoop::OnRequest(const ApiRequest& request) {
  std::shared_ptr<ApiReply> reply = handler_.Handle(request, traffic_);
  int seconds = 0;
  if (reply->is_watch() &&
      absl::SimpleAtoi(QueryValue(request.query, "timeoutSeconds"), &seconds) && seconds > 0) {
    EndAfter(absl::Seconds(seconds), reply);
  }
  if (reply->fault().drip_bytes != 0) Drip(reply);
  return reply;
}

void ApiServerLoop::EndAfter(absl::Duration delay, const std::shared_ptr<ApiReply>& watch) {
  thread_->loop().After(delay, [this, weak = std::weak_ptr<ApiReply>(watch)] {
    if (const auto reply = weak.lock()) reply->Finish();
    PumpAll();
  });
}

void ApiServerLoop::Drip(const std::weak_ptr<ApiReply>& reply) {
  const auto now = reply.lock();
  if (now == nullptr) return;
  thread_->loop().After(now->fault().drip_every, [this, reply] {
    if (const auto then = reply.lock()) then->Allow(then->fault().drip_bytes);
    PumpAll();
    Drip(reply);
  });
}

void ApiServerLoop::SendBookmarks() {
  for (const auto& watch : handler_.OpenWatches()) watch->SendBookmark();
}

void ApiServerLoop::SetBookmarkPeriod(absl::Duration period) {
  if (bookmark_timer_ != 0) thread_->loop().Cancel(bookmark_timer_);
  bookmark_timer_ = 0;
  bookmark_period_ = period;
  if (period > absl::ZeroDuration()) ArmBookmarks();
}

void ApiServerLoop::ArmBookmarks() {
  bookmark_timer_ = thread_->loop().After(bookmark_period_, [this] {
    SendBookmarks();
    PumpAll();
    ArmBookmarks();
  });
}

}  // namespace npg::testing
