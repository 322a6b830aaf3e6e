// SPDX-License-Identifier: Apache-2.0
#include "testing/client.h"

#include <liburing.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/transport.h"

namespace npg::testing {
namespace {

using base::UniqueFd;

// Only tests in which a packet is dropped wait this long.
constexpr timeval kTimeout{20, 0};
constexpr absl::string_view kQuestion = "?";

std::string ConnectErrorText(int error) {
  switch (error) {
    case ECONNREFUSED:
      return "refused";
    case ETIMEDOUT:
    case EAGAIN:
    case EINPROGRESS:
      return "timed out";
    default:
      return std::generic_category().message(error);
  }
}

absl::Status ConnectError(int error) { return absl::UnavailableError(ConnectErrorText(error)); }

// Waits for the end of a non-blocking connect. Returns an errno, 0 for success.
int EndOfConnect(int fd) {
  pollfd ready{fd, POLLOUT, 0};
  if (poll(&ready, 1, static_cast<int>(kTimeout.tv_sec) * 1000) == 0) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof(error);
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

// Returns an errno, 0 for success.
int UringConnect(int fd, const SocketAddress& address, bool worker) {
  io_uring ring{};
  if (const int error = io_uring_queue_init(2, &ring, 0); error < 0) return -error;
  io_uring_sqe* const entry = io_uring_get_sqe(&ring);
  io_uring_prep_connect(entry, fd, address.get(), address.size);
  if (worker) io_uring_sqe_set_flags(entry, IOSQE_ASYNC);
  io_uring_cqe* completion = nullptr;
  int error = io_uring_submit(&ring);
  __kernel_timespec timeout{};
  timeout.tv_sec = kTimeout.tv_sec;
  if (error >= 0) {
    do {
      error = io_uring_wait_cqe_timeout(&ring, &completion, &timeout);
    } while (error == -EINTR);
  }
  if (error == 0) error = completion->res;
  io_uring_queue_exit(&ring);
  // The error of Linux 5.10 when kube-proxy's rules reject the connect.
  if (error == -EALREADY) return EndOfConnect(fd);
  return error < 0 ? -error : 0;
}

int ConnectBy(int fd, const SocketAddress& address, Method method) {
  switch (method) {
    case Method::kUring:
    case Method::kUringWorker:
      return UringConnect(fd, address, method == Method::kUringWorker);
    case Method::kFastOpenSend: {
      const ssize_t sent = sendto(fd, kQuestion.data(), kQuestion.size(),
                                  MSG_FASTOPEN | MSG_NOSIGNAL, address.get(), address.size);
      return sent < 0 ? errno : 0;
    }
    case Method::kFastOpenConnect: {
      const int on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on));
      if (connect(fd, address.get(), address.size) != 0) return errno;
      return send(fd, kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL) < 0 ? errno : 0;
    }
    case Method::kConnect:
      break;
  }
  return connect(fd, address.get(), address.size) != 0 ? errno : 0;
}

}  // namespace

std::string ToString(const Dial& dial) {
  std::string text =
      absl::StrCat(TransportName(dial.transport), " to ", dial.destination, " port ", dial.port);
  if (!dial.source.empty() || dial.source_port != 0) {
    absl::StrAppend(&text, " from ", dial.source, " port ", dial.source_port);
  }
  return text;
}

absl::StatusOr<UniqueFd> Connect(const Dial& dial) {
  const auto address = MakeAddress(dial.destination, dial.port);
  if (!address.ok()) return address.status();
  auto fd = OpenSocket(address->family(), dial.transport);
  if (!fd.ok()) return fd.status();
  setsockopt(fd->get(), SOL_SOCKET, SO_SNDTIMEO, &kTimeout, sizeof(kTimeout));
  setsockopt(fd->get(), SOL_SOCKET, SO_RCVTIMEO, &kTimeout, sizeof(kTimeout));
  if (dial.mark != 0 &&
      setsockopt(fd->get(), SOL_SOCKET, SO_MARK, &dial.mark, sizeof(dial.mark)) != 0) {
    return base::ErrnoStatus(errno, "set SO_MARK");
  }
  if (!dial.source.empty() || dial.source_port != 0) {
    const bool v6 = address->family() == AF_INET6;
    const auto source =
        MakeAddress(dial.source.empty() ? (v6 ? "::" : "0.0.0.0") : dial.source, dial.source_port);
    if (!source.ok()) return source.status();
    const int on = 1;
    setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd->get(), source->get(), source->size) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("bind ", ToString(dial)));
    }
  }
  if (const int error = ConnectBy(fd->get(), *address, dial.method); error != 0) {
    return ConnectError(error);
  }
  return fd;
}

absl::Status ConnectAgain(int fd, absl::string_view destination, uint16_t port) {
  const auto address = MakeAddress(destination, port);
  if (!address.ok()) return address.status();
  if (connect(fd, address->get(), address->size) != 0) return ConnectError(errno);
  return absl::OkStatus();
}

std::string AskWho(int fd, Transport transport) {
  if (transport == Transport::kUdp &&
      send(fd, kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL) < 0) {
    return ConnectErrorText(errno);
  }
  std::string answer;
  std::array<char, 64> buffer{};
  const size_t at_once = transport == Transport::kUdp ? buffer.size() : 1;
  while (answer.find('\n') == std::string::npos) {
    const ssize_t size = recv(fd, buffer.data(), at_once, 0);
    // Pending task work of io_uring interrupts a receive with a timeout.
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return ConnectErrorText(errno);
    if (size == 0) return "closed";
    answer.append(buffer.data(), static_cast<size_t>(size));
  }
  return answer.substr(0, answer.find('\n'));
}

std::string Ask(const Dial& dial) {
  const auto fd = Connect(dial);
  if (!fd.ok()) return std::string(fd.status().message());
  return AskWho(fd->get(), dial.transport);
}

std::vector<std::string> AskAll(const std::vector<std::function<std::string()>>& asks) {
  std::vector<std::string> answers(asks.size());
  std::vector<std::thread> threads;
  threads.reserve(asks.size());
  for (size_t i = 0; i < asks.size(); ++i) {
    threads.emplace_back([&asks, &answers, i] { answers[i] = asks[i](); });
  }
  for (std::thread& thread : threads) thread.join();
  return answers;
}

uint32_t MarkOf(int fd) {
  uint32_t mark = 0;
  socklen_t size = sizeof(mark);
  getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &size);
  return mark;
}

bool SynCarriedData(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
  return (info.tcpi_options & TCPI_OPT_SYN_DATA) != 0;
}

}  // namespace npg::testing
