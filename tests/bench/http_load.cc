// SPDX-License-Identifier: Apache-2.0
#include "bench/http_load.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "bench/measure.h"
#include "bench/packet_node.h"

namespace npg::bench {
namespace {

constexpr size_t kKeptAlive = 64;  // requests
constexpr size_t kConnections = 16;
constexpr size_t kBodyBytes = 1024;
constexpr absl::string_view kEndOfHead = "\r\n\r\n";
constexpr absl::string_view kClose = "\r\nConnection: close\r\n";

absl::Status Send(int fd, const std::string& text) {
  if (send(fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
    return base::ErrnoStatus(errno, "send");
  }
  return absl::OkStatus();
}

// Requests and responses are so short that each arrives whole.
absl::StatusOr<absl::string_view> Receive(int fd, std::array<char, 4096>& buffer) {
  const ssize_t size = recv(fd, buffer.data(), buffer.size(), 0);
  if (size < 0) return base::ErrnoStatus(errno, "recv");
  return absl::string_view(buffer.data(), static_cast<size_t>(size));
}

// Whether the text is a response with a body of the length that it names.
bool IsWhole(absl::string_view response) {
  constexpr absl::string_view kLength = "\r\nContent-Length: ";
  const size_t length = response.find(kLength);
  const size_t end = response.find(kEndOfHead);
  if (!absl::StartsWith(response, "HTTP/1.1 200 ") || end == absl::string_view::npos ||
      length >= end) {
    return false;
  }
  absl::string_view number = response.substr(length + kLength.size());
  number = number.substr(0, number.find('\r'));
  size_t bytes = 0;
  return absl::SimpleAtoi(number, &bytes) && response.size() == end + kEndOfHead.size() + bytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpLoad>> HttpLoad::Create(std::shared_ptr<PacketNode> node,
                                                           bool keep_alive) {
  base::UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return base::ErrnoStatus(errno, "epoll_create1");
  auto load = absl::WrapUnique(new HttpLoad(std::move(node), keep_alive, std::move(epoll)));
  NPG_RETURN_IF_ERROR(load->Watch(load->node_->listener()));
  if (keep_alive) NPG_RETURN_IF_ERROR(load->Watch(load->node_->server()));
  return load;
}

absl::Status HttpLoad::Watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return base::ErrnoStatus(errno, "epoll_ctl");
  }
  return absl::OkStatus();
}

absl::Status HttpLoad::Serve() {
  std::array<epoll_event, 8> events{};
  while (true) {
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), /*timeout=*/0);
    if (count < 0) return base::ErrnoStatus(errno, "epoll_wait");
    if (count == 0) return absl::OkStatus();
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<size_t>(i)].data.fd;
      NPG_RETURN_IF_ERROR(fd == node_->listener() ? Accept() : Answer(fd));
    }
  }
}

absl::Status HttpLoad::Accept() {
  base::UniqueFd connection(accept4(node_->listener(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection) return base::ErrnoStatus(errno, "accept");
  const int fd = connection.get();
  connections_[fd] = std::move(connection);
  return Watch(fd);
}

absl::Status HttpLoad::Answer(int connection) {
  std::array<char, 4096> buffer{};
  const absl::StatusOr<absl::string_view> request = Receive(connection, buffer);
  if (!request.ok()) return request.status();
  if (!absl::StartsWith(*request, "GET /") || !absl::EndsWith(*request, kEndOfHead)) {
    return absl::InternalError(absl::StrCat("a request of ", request->size(), " bytes"));
  }
  const bool close = absl::StrContains(*request, kClose);
  NPG_RETURN_IF_ERROR(Send(
      connection,
      absl::StrCat("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ", kBodyBytes,
                   close ? kClose : "\r\n", "\r\n", std::string(kBodyBytes, 'x'))));
  if (close) connections_.erase(connection);
  return absl::OkStatus();
}

absl::Status HttpLoad::Request(int client) {
  NPG_RETURN_IF_ERROR(
      Send(client, absl::StrCat("GET /status HTTP/1.1\r\nHost: localhost\r\nAccept: */*",
                                keep_alive_ ? "\r\n" : kClose, "\r\n")));
  NPG_RETURN_IF_ERROR(Serve());
  std::array<char, 4096> buffer{};
  const absl::StatusOr<absl::string_view> response = Receive(client, buffer);
  if (!response.ok()) return response.status();
  if (!IsWhole(*response)) return absl::InternalError("an incomplete response");
  return absl::OkStatus();
}

absl::StatusOr<double> HttpLoad::Run() {
  std::vector<base::UniqueFd> clients;
  if (!keep_alive_) {
    absl::StatusOr<std::vector<base::UniqueFd>> opened = node_->OpenClients(kConnections);
    if (!opened.ok()) return opened.status();
    clients = *std::move(opened);
  }
  const testing::SocketAddress& to = node_->address();
  const size_t requests = keep_alive_ ? kKeptAlive : kConnections;
  const double start = ThreadNanoseconds();
  for (size_t i = 0; i < requests; ++i) {
    if (keep_alive_) {
      NPG_RETURN_IF_ERROR(Request(node_->client()));
      continue;
    }
    if (connect(clients[i].get(), to.get(), to.size) != 0) {
      return base::ErrnoStatus(errno, "connect");
    }
    NPG_RETURN_IF_ERROR(Request(clients[i].get()));
    clients[i].Reset();
  }
  return (ThreadNanoseconds() - start) / static_cast<double>(requests);
}

}  // namespace npg::bench
