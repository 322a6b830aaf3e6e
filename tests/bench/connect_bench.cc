// SPDX-License-Identifier: Apache-2.0

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "bench/comparisons.h"
#include "bench/measure.h"
#include "bench/programs.h"
#include "testing/transport.h"

namespace npg::bench {
namespace {

using ::npg::testing::MakeAddress;
using ::npg::testing::OpenSocket;
using ::npg::testing::SocketAddress;
using ::npg::testing::Transport;

using Batch = std::function<absl::StatusOr<double>()>;

constexpr uint16_t kPlainPort = 9999;  // no NodePort
constexpr uint16_t kIdlePort = 30999;  // a NodePort without a listener
constexpr uint16_t kHostPort = 31000;  // the first NodePort with a listener
constexpr size_t kHostPorts = 32;

absl::Status Connect(int fd, const SocketAddress& to) {
  if (connect(fd, to.get(), to.size) != 0) return base::ErrnoStatus(errno, "connect");
  return absl::OkStatus();
}

// Many sockets, already bound, so that the choice of a port is not measured.
absl::StatusOr<std::vector<base::UniqueFd>> Clients(size_t count, int family, Transport transport) {
  const absl::StatusOr<SocketAddress> any = MakeAddress(family == AF_INET ? "0.0.0.0" : "::", 0);
  if (!any.ok()) return any.status();
  std::vector<base::UniqueFd> clients;
  for (size_t i = 0; i < count; ++i) {
    absl::StatusOr<base::UniqueFd> client = OpenSocket(family, transport);
    if (!client.ok()) return client.status();
    if (bind(client->get(), any->get(), any->size) != 0) return base::ErrnoStatus(errno, "bind");
    clients.push_back(*std::move(client));
  }
  return clients;
}

// One UDP socket connects again and again. No packet is sent.
absl::StatusOr<double> Reconnect(const SocketAddress& to) {
  constexpr int kTimes = 1000;
  const absl::StatusOr<std::vector<base::UniqueFd>> client =
      Clients(1, to.family(), Transport::kUdp);
  if (!client.ok()) return client.status();
  const int fd = client->front().get();
  NPG_RETURN_IF_ERROR(Connect(fd, to));
  const double start = ThreadNanoseconds();
  for (int i = 0; i < kTimes; ++i) {
    if (connect(fd, to.get(), to.size) != 0) return base::ErrnoStatus(errno, "connect");
  }
  return (ThreadNanoseconds() - start) / kTimes;
}

// Each of many UDP sockets connects once, to the addresses in turn.
absl::StatusOr<double> ConnectOnce(const std::vector<SocketAddress>& to) {
  constexpr size_t kTimes = 256;
  const absl::StatusOr<std::vector<base::UniqueFd>> clients =
      Clients(kTimes, to.front().family(), Transport::kUdp);
  if (!clients.ok()) return clients.status();
  const double start = ThreadNanoseconds();
  for (size_t i = 0; i < kTimes; ++i) {
    NPG_RETURN_IF_ERROR(Connect((*clients)[i].get(), to[i % to.size()]));
  }
  return (ThreadNanoseconds() - start) / static_cast<double>(kTimes);
}

// A whole handshake over lo, without the close.
absl::StatusOr<double> Handshake(int listener, const SocketAddress& to) {
  constexpr size_t kTimes = 64;
  absl::StatusOr<std::vector<base::UniqueFd>> clients =
      Clients(kTimes, to.family(), Transport::kTcp);
  if (!clients.ok()) return clients.status();
  for (const base::UniqueFd& client : *clients) {
    // Resets at the end: sockets in TIME_WAIT would slow down later connects.
    const linger reset = {1, 0};
    if (setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) != 0) {
      return base::ErrnoStatus(errno, "SO_LINGER");
    }
  }
  const double start = ThreadNanoseconds();
  for (const base::UniqueFd& client : *clients) NPG_RETURN_IF_ERROR(Connect(client.get(), to));
  const double nanoseconds = ThreadNanoseconds() - start;
  for (size_t i = 0; i < kTimes; ++i) {
    const base::UniqueFd accepted(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted) return base::ErrnoStatus(errno, "accept");
  }
  return nanoseconds / static_cast<double>(kTimes);
}

// The listeners of the host; they exist as long as the comparisons.
class Hosts {
 public:
  explicit Hosts(Programs& programs) : programs_(programs) {}

  absl::StatusOr<int> Listen(Transport transport, uint16_t port) {
    const absl::StatusOr<SocketAddress> at = MakeAddress("127.0.0.1", port);
    if (!at.ok()) return at.status();
    absl::StatusOr<base::UniqueFd> socket = OpenSocket(AF_INET, transport);
    if (!socket.ok()) return socket.status();
    const std::string what = absl::StrCat("listen on 127.0.0.1:", port);
    if (bind(socket->get(), at->get(), at->size) != 0) return base::ErrnoStatus(errno, what);
    if (transport != Transport::kUdp && listen(socket->get(), 1024) != 0) {
      return base::ErrnoStatus(errno, what);
    }
    NPG_RETURN_IF_ERROR(programs_.Own(socket->get(), port));
    sockets_.push_back(*std::move(socket));
    return sockets_.back().get();
  }

 private:
  Programs& programs_;
  std::vector<base::UniqueFd> sockets_;
};

// Comparisons of the three programs; the first error, if any, is kept.
class Builder {
 public:
  explicit Builder(Programs& programs) : programs_(programs) {}

  void Add(const std::string& what, const Batch& batch) {
    comparisons_.push_back({"connect", what, programs_.Variants(Programs::Hook::kConnect, batch)});
  }
  SocketAddress Address(const char* address, uint16_t port) {
    return Keep(MakeAddress(address, port), SocketAddress{});
  }
  template <typename T>
  T Keep(absl::StatusOr<T> result, T otherwise) {
    if (result.ok()) return *std::move(result);
    status_.Update(result.status());
    return otherwise;
  }
  absl::StatusOr<std::vector<Comparison>> Build() {
    if (!status_.ok()) return status_;
    return std::move(comparisons_);
  }

 private:
  Programs& programs_;
  std::vector<Comparison> comparisons_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::vector<Comparison>> ConnectComparisons(Programs& programs) {
  Builder builder(programs);
  const auto hosts = std::make_shared<Hosts>(programs);
  std::vector<SocketAddress> many;
  for (size_t i = 0; i < kHostPorts; ++i) {
    const auto port = static_cast<uint16_t>(kHostPort + i);
    builder.Keep(hosts->Listen(Transport::kUdp, port), -1);
    many.push_back(builder.Address("127.0.0.1", port));
  }
  const int plain_listener = builder.Keep(hosts->Listen(Transport::kTcp, kPlainPort), -1);
  const int host_listener = builder.Keep(hosts->Listen(Transport::kTcp, kHostPort), -1);

  // In the order of the decision: later rows cost more.
  const auto reconnect = [&builder](const char* address, uint16_t port) {
    return [to = builder.Address(address, port)] { return Reconnect(to); };
  };
  builder.Add("UDP, not loopback", reconnect(kElsewhere4, kPlainPort));
  builder.Add("UDP over IPv6, not loopback", reconnect(kElsewhere6, kPlainPort));
  builder.Add("UDP, not loopback, port of a NodePort", reconnect(kElsewhere4, kIdlePort));
  builder.Add("UDP, loopback, no NodePort", reconnect("127.0.0.1", kPlainPort));
  builder.Add("UDP, ::1, no NodePort", reconnect("::1", kPlainPort));
  builder.Add(
      "UDP, NodePort, other netns",
      [&programs, to = builder.Address("127.0.0.1", kHostPort)]() -> absl::StatusOr<double> {
        NPG_RETURN_IF_ERROR(programs.SetForeign(true));
        absl::StatusOr<double> result = Reconnect(to);
        NPG_RETURN_IF_ERROR(programs.SetForeign(false));
        return result;
      });
  builder.Add("UDP, NodePort, no listener", reconnect("127.0.0.1", kIdlePort));
  builder.Add("UDP, exempt again",
              [hosts, to = builder.Address("127.0.0.1", kHostPort)] { return Reconnect(to); });
  builder.Add("UDP, exempt, event suppressed",
              [hosts, to = builder.Address("127.0.0.1", kHostPort)] { return ConnectOnce({to}); });
  builder.Add("UDP, exempt, event published", [hosts, &programs, many]() -> absl::StatusOr<double> {
    NPG_RETURN_IF_ERROR(programs.AllowEvents());
    return ConnectOnce(many);
  });
  builder.Add("TCP handshake, no NodePort",
              [hosts, plain_listener, to = builder.Address("127.0.0.1", kPlainPort)] {
                return Handshake(plain_listener, to);
              });
  builder.Add("TCP handshake, exempt",
              [hosts, host_listener, to = builder.Address("127.0.0.1", kHostPort)] {
                return Handshake(host_listener, to);
              });
  return builder.Build();
}

}  // namespace npg::bench
