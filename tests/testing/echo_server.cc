// SPDX-License-Identifier: Apache-2.0
#include "testing/echo_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/net_namespace.h"
#include "testing/transport.h"

namespace npg::testing {
namespace {

using base::ErrnoStatus;
using base::UniqueFd;

constexpr size_t kChunk = 65536;
// Echo no faster than the client reads: what is read but not sent stays small.
constexpr size_t kMaxUnsent = 4 * kChunk;

void SetOption(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof(value));
}

absl::StatusOr<UniqueFd> OpenListening(const Listen& what) {
  auto address = MakeAddress(what.address, what.port);
  if (!address.ok()) return address.status();
  auto fd = OpenSocket(address->family(), what.transport);
  if (!fd.ok()) return fd.status();
  const std::string name =
      absl::StrCat(TransportName(what.transport), " ", what.address, " port ", what.port);
  SetOption(fd->get(), SOL_SOCKET, SO_REUSEADDR, what.transport == Transport::kUdp ? 0 : 1);
  if (what.reuse_port) SetOption(fd->get(), SOL_SOCKET, SO_REUSEPORT, 1);
  if (what.transport == Transport::kUdp) {
    // A wildcard socket has to answer from the address it was asked on.
    if (address->family() == AF_INET) SetOption(fd->get(), IPPROTO_IP, IP_PKTINFO, 1);
    if (address->family() == AF_INET6) SetOption(fd->get(), IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
  if (bind(fd->get(), address->get(), address->size) != 0) {
    return ErrnoStatus(errno, absl::StrCat("bind to ", name));
  }
  if (what.fast_open) SetOption(fd->get(), IPPROTO_TCP, TCP_FASTOPEN, 16);
  if (what.transport != Transport::kUdp && listen(fd->get(), SOMAXCONN) != 0) {
    return ErrnoStatus(errno, absl::StrCat("listen on ", name));
  }
  return fd;
}

void Watch(int epoll, int operation, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  epoll_ctl(epoll, operation, fd, &event);
}

}  // namespace

absl::StatusOr<std::unique_ptr<EchoServer>> EchoServer::Start(std::string name,
                                                              const std::vector<Listen>& sockets,
                                                              const NetNamespace* where) {
  std::unique_ptr<EchoServer> server(new EchoServer(std::move(name)));
  NPG_RETURN_IF_ERROR(server->Begin([&server, &sockets] { return server->Open(sockets); }, where));
  return server;
}

absl::StatusOr<std::unique_ptr<EchoServer>> EchoServer::Adopt(std::string name, Transport transport,
                                                              UniqueFd socket) {
  std::unique_ptr<EchoServer> server(new EchoServer(std::move(name)));
  const auto add = [&] {
    const Listen what{"", LocalPort(socket.get()), transport};
    server->Add(what, std::move(socket));
    return absl::OkStatus();
  };
  NPG_RETURN_IF_ERROR(server->Begin(add, nullptr));
  return server;
}

absl::Status EchoServer::Begin(const std::function<absl::Status()>& open,
                               const NetNamespace* where) {
  epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  stop_.Reset(eventfd(0, EFD_CLOEXEC));
  if (!epoll_ || !stop_) return ErrnoStatus(errno, "epoll");
  Watch(epoll_.get(), EPOLL_CTL_ADD, stop_.get(), EPOLLIN);
  NPG_RETURN_IF_ERROR(where == nullptr ? open() : where->Run(open));
  thread_ = std::thread([this] { Serve(); });
  return absl::OkStatus();
}

EchoServer::~EchoServer() {
  eventfd_write(stop_.get(), 1);
  if (thread_.joinable()) thread_.join();
}

absl::Status EchoServer::Open(const std::vector<Listen>& sockets) {
  for (const Listen& what : sockets) {
    auto fd = OpenListening(what);
    if (!fd.ok()) return fd.status();
    Add(what, *std::move(fd));
  }
  return absl::OkStatus();
}

void EchoServer::Add(const Listen& what, UniqueFd socket) {
  const int number = socket.get();
  Watch(epoll_.get(), EPOLL_CTL_ADD, number, EPOLLIN);
  listening_[number] = Socket{what, served_.size(), std::move(socket)};
  served_.push_back(0);
}

void EchoServer::StopListening(uint16_t port) {
  const std::lock_guard lock(mutex_);
  for (auto it = listening_.begin(); it != listening_.end();) {
    const bool stop = port == 0 || it->second.what.port == port;
    it = stop ? listening_.erase(it) : std::next(it);
  }
}

size_t EchoServer::served(size_t index) const {
  const std::lock_guard lock(mutex_);
  return served_.at(index);
}

absl::Status EchoServer::Push(uint16_t client_port, absl::string_view bytes) {
  const std::lock_guard lock(mutex_);
  for (auto& [fd, connection] : connections_) {
    if (connection.client_port != client_port) continue;
    absl::StrAppend(&connection.unsent, bytes);
    Flush(connection);
    return absl::OkStatus();
  }
  const auto peer = peers_.find(client_port);
  if (peer == peers_.end() || listening_.count(peer->second.fd) == 0) {
    return absl::NotFoundError(absl::StrCat("no client at port ", client_port));
  }
  SendDatagram(peer->second, absl::StrCat(name_, "\n", bytes));
  return absl::OkStatus();
}

void EchoServer::Serve() {
  std::array<epoll_event, 64> events{};
  for (;;) {
    const int ready = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    // The whole batch under the lock: a descriptor that is closed meanwhile
    // could come again as another's.
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < ready; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (event.data.fd == stop_.get()) return;
      const auto socket = listening_.find(event.data.fd);
      if (socket == listening_.end()) {
        Continue(event.data.fd, event.events);
      } else if (socket->second.what.transport == Transport::kUdp) {
        Answer(socket->second);
      } else {
        Accept(socket->second);
      }
    }
  }
}

void EchoServer::Accept(Socket& socket) {
  SocketAddress client;
  client.size = sizeof(client.storage);
  UniqueFd fd(accept4(socket.fd.get(), client.get(), &client.size, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  ++served_[socket.index];
  const int number = fd.get();
  Watch(epoll_.get(), EPOLL_CTL_ADD, number, EPOLLIN);
  Connection& connection = connections_[number];
  connection = Connection{std::move(fd), client.port(), name_ + "\n", false};
  Flush(connection);
}

void EchoServer::Drop(int fd) {
  // Closing takes it out of the epoll set, too.
  connections_.erase(fd);
}

void EchoServer::Flush(Connection& connection) {
  while (!connection.unsent.empty()) {
    const ssize_t sent = send(connection.fd.get(), connection.unsent.data(),
                              connection.unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent <= 0) break;
    connection.unsent.erase(0, static_cast<size_t>(sent));
  }
  if (connection.unsent.empty() && connection.finished) {
    shutdown(connection.fd.get(), SHUT_WR);
  }
  const bool read_on = !connection.finished && connection.unsent.size() < kMaxUnsent;
  const uint32_t events = (read_on ? EPOLLIN : 0U) | (connection.unsent.empty() ? 0U : EPOLLOUT);
  Watch(epoll_.get(), EPOLL_CTL_MOD, connection.fd.get(), events);
}

void EchoServer::Continue(int fd, uint32_t events) {
  const auto it = connections_.find(fd);
  if (it == connections_.end()) return;
  Connection& connection = it->second;
  if ((events & EPOLLIN) != 0) {
    std::array<char, kChunk> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
    const ssize_t size = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0 && errno != EAGAIN) return Drop(fd);
    if (size == 0) connection.finished = true;
    if (size > 0) connection.unsent.append(buffer.data(), static_cast<size_t>(size));
  } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
    return Drop(fd);
  }
  Flush(connection);
  if (connection.finished && connection.unsent.empty()) Drop(fd);
}

void EchoServer::SendDatagram(const Peer& peer, absl::string_view bytes) {
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_name = const_cast<sockaddr*>(peer.address.get());
  message.msg_namelen = peer.address.size;
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = const_cast<char*>(peer.control.data());
  message.msg_controllen = peer.control.size();
  sendmsg(peer.fd, &message, MSG_NOSIGNAL);
}

void EchoServer::Answer(Socket& socket) {
  std::array<char, kChunk> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  alignas(cmsghdr) std::array<char, 256> control{};
  Peer peer;
  peer.fd = socket.fd.get();
  iovec data{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_name = peer.address.get();
  message.msg_namelen = sizeof(peer.address.storage);
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = recvmsg(socket.fd.get(), &message, MSG_DONTWAIT);
  if (size < 0) return;
  ++served_[socket.index];
  peer.address.size = message.msg_namelen;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO) {
      // "Sent to" is not "send from": the kernel tells them apart.
      auto* const info = reinterpret_cast<in_pktinfo*>(CMSG_DATA(part));
      info->ipi_spec_dst = info->ipi_addr;
      info->ipi_ifindex = 0;
    } else if (part->cmsg_level == IPPROTO_IPV6 && part->cmsg_type == IPV6_PKTINFO) {
      reinterpret_cast<in6_pktinfo*>(CMSG_DATA(part))->ipi6_ifindex = 0;
    } else {
      continue;
    }
    peer.control.assign(reinterpret_cast<const char*>(part), CMSG_ALIGN(part->cmsg_len));
  }
  const std::string answer =
      absl::StrCat(name_, "\n", absl::string_view(buffer.data(), static_cast<size_t>(size)));
  SendDatagram(peer, answer);
  peers_[peer.address.port()] = std::move(peer);
}

}  // namespace npg::testing
