// SPDX-License-Identifier: Apache-2.0
#include "testing/connection_burst.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/command.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::testing {
namespace {

constexpr int kBurstSeconds = 10;  // as long as one step of a connection may take
constexpr size_t kBurstFailures = 5;

absl::Status LimitWaiting(int fd) {
  const timeval limit{kBurstSeconds, 0};
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    if (setsockopt(fd, SOL_SOCKET, option, &limit, sizeof(limit)) != 0) {
      return base::ErrnoStatus(errno, "set a timeout");
    }
  }
  return absl::OkStatus();
}

// An address and port of IPv4 as one number.
uint64_t EndpointOf(const SocketAddress& address) {
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.storage);
  return uint64_t{ntohl(v4.sin_addr.s_addr)} << 16 | ntohs(v4.sin_port);
}

absl::Status PassByte(int from, int to) {
  char byte = 'x';
  if (send(from, &byte, 1, MSG_NOSIGNAL) != 1) return base::ErrnoStatus(errno, "send");
  const ssize_t size = recv(to, &byte, 1, 0);
  if (size < 0) return base::ErrnoStatus(errno, "receive");
  return size == 1 ? absl::OkStatus() : absl::DataLossError("receive: the connection ended");
}

class BurstThread {
 public:
  static absl::StatusOr<BurstThread> Prepare(const ConnectionBurst& burst, size_t index) {
    BurstThread thread;
    thread.index_ = static_cast<uint32_t>(index);
    const ConnectionBurst::Ports& ports = burst.threads[index];
    auto server = MakeAddress("127.0.0.1", ports.listener);
    if (!server.ok()) return server.status();
    thread.server_ = *server;
    auto listener = ListenOn("127.0.0.1", ports.listener);
    if (!listener.ok()) return listener.status();
    auto hijacker = ListenOn("127.0.0.1", ports.hijacker);
    if (!hijacker.ok()) return hijacker.status();
    thread.listener_ = *std::move(listener);
    thread.hijacker_ = *std::move(hijacker);
    // What a listener accepts inherits it.
    for (const int fd : {thread.listener_.get(), thread.hijacker_.get()}) {
      if (absl::Status status = LimitWaiting(fd); !status.ok()) return status;
    }
    return thread;
  }

  void Run(const ConnectionBurst& burst) {
    for (uint32_t number = 0; number < burst.each && result_.failed < kBurstFailures; ++number) {
      if (burst.stop && burst.stop()) return;
      const absl::Status status = Connect(burst.mark, number);
      if (status.ok()) continue;
      ++result_.failed;
      result_.failure =
          absl::StrCat("connection ", number, " of thread ", index_, ": ", status.message());
    }
  }

  // `tuples` is not counted yet.
  const ConnectionBurstResult& result() const { return result_; }
  // The clients' endpoints. Each thread has its own source addresses.
  size_t clients() const { return clients_.size(); }

 private:
  BurstThread() = default;

  absl::Status Connect(uint32_t mark, uint32_t number) {
    auto client = OpenSocket(AF_INET, Transport::kTcp);
    if (!client.ok()) return client.status();
    const int on = 1;
    sockaddr_in source{};
    source.sin_family = AF_INET;
    source.sin_addr.s_addr =
        htonl(uint32_t{127} << 24 | (index_ + 1) << 16 | (number & UINT16_MAX));
    // Without the first option, bind() would take a port that no other address uses.
    if (setsockopt(client->get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) != 0 ||
        setsockopt(client->get(), SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0 ||
        bind(client->get(), reinterpret_cast<const sockaddr*>(&source), sizeof(source)) != 0) {
      return base::ErrnoStatus(errno, "prepare the client");
    }
    if (absl::Status status = LimitWaiting(client->get()); !status.ok()) return status;
    if (connect(client->get(), server_.get(), server_.size) != 0) {
      return base::ErrnoStatus(errno, "connect");
    }
    SocketAddress name;
    name.size = sizeof(name.storage);
    if (getsockname(client->get(), name.get(), &name.size) != 0) {
      return base::ErrnoStatus(errno, "getsockname");
    }
    clients_.insert(EndpointOf(name));
    auto server = Accept(EndpointOf(name));
    if (!server.ok()) return server.status();
    if (!*server) {
      ++result_.hijacked;
      return absl::OkStatus();
    }
    if (absl::Status status = PassByte(client->get(), server->get()); !status.ok()) return status;
    if (absl::Status status = PassByte(server->get(), client->get()); !status.ok()) return status;
    client->Reset();
    ++result_.connections;
    return absl::OkStatus();
  }

  // The other end of the client's connection; an empty descriptor if it was hijacked.
  absl::StatusOr<base::UniqueFd> Accept(uint64_t client) {
    for (;;) {
      std::array<pollfd, 2> fds{{{listener_.get(), POLLIN, 0}, {hijacker_.get(), POLLIN, 0}}};
      const int ready = poll(fds.data(), fds.size(), kBurstSeconds * 1000);
      if (ready < 0) return base::ErrnoStatus(errno, "poll");
      if (ready == 0) return absl::DeadlineExceededError("no listener got the connection");
      const bool hijacked = fds[1].revents != 0;
      SocketAddress peer;
      peer.size = sizeof(peer.storage);
      base::UniqueFd server(accept4(hijacked ? hijacker_.get() : listener_.get(), peer.get(),
                                    &peer.size, SOCK_CLOEXEC));
      if (!server) return base::ErrnoStatus(errno, "accept");
      if (EndpointOf(peer) != client) continue;  // of a connection that failed
      return hijacked ? base::UniqueFd() : std::move(server);
    }
  }

  uint32_t index_ = 0;
  SocketAddress server_;
  base::UniqueFd listener_, hijacker_;
  ConnectionBurstResult result_;
  std::unordered_set<uint64_t> clients_;
};

}  // namespace

absl::Status PrepareBurst(const ConnectionBurst& burst) {
  std::string rules = "table ip hijack {\n chain output {\n type nat hook output priority -100;\n";
  for (const ConnectionBurst::Ports& ports : burst.threads) {
    absl::StrAppend(&rules, "tcp dport ", ports.listener, " redirect to :", ports.hijacker, "\n");
  }
  absl::StrAppend(&rules, R"(
      }
    }
    table inet strict {
      chain input {
        type filter hook input priority 0;
        ct state invalid drop
      }
    })");
  if (const auto applied = RunCommand({"nft", "-f", "-"}, rules); !applied.ok()) {
    return applied.status();
  }
  // Without room, a client without TIME_WAIT answers the server's FIN with a RST.
  return SetSysctl("net/ipv4/tcp_max_tw_buckets", "1000000");
}

absl::StatusOr<ConnectionBurstResult> RunBurst(const ConnectionBurst& burst) {
  std::vector<BurstThread> workers;
  for (size_t i = 0; i < burst.threads.size(); ++i) {
    auto worker = BurstThread::Prepare(burst, i);
    if (!worker.ok()) return worker.status();
    workers.push_back(*std::move(worker));
  }
  std::vector<std::thread> threads;
  threads.reserve(workers.size());
  for (BurstThread& worker : workers) {
    threads.emplace_back([&worker, &burst] { worker.Run(burst); });
  }
  for (std::thread& thread : threads) thread.join();
  ConnectionBurstResult total;
  for (const BurstThread& worker : workers) {
    const ConnectionBurstResult& part = worker.result();
    total.connections += part.connections;
    total.hijacked += part.hijacked;
    total.failed += part.failed;
    total.tuples += worker.clients();
    if (!part.failure.empty()) total.failure = part.failure;
  }
  return total;
}

}  // namespace npg::testing
