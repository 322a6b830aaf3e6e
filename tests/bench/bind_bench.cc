// SPDX-License-Identifier: Apache-2.0

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
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

constexpr uint16_t kPlainPorts = 40000;
constexpr uint16_t kNodePorts = 30100;

// Binds a socket to each of many ports from `first` on.
absl::StatusOr<double> Bind(const std::string& address, Transport transport, uint16_t first) {
  constexpr size_t kTimes = 256;
  std::vector<std::pair<base::UniqueFd, SocketAddress>> sockets;
  for (size_t i = 0; i < kTimes; ++i) {
    absl::StatusOr<SocketAddress> at = MakeAddress(address, static_cast<uint16_t>(first + i));
    if (!at.ok()) return at.status();
    absl::StatusOr<base::UniqueFd> socket = OpenSocket(at->family(), transport);
    if (!socket.ok()) return socket.status();
    sockets.emplace_back(*std::move(socket), *at);
  }
  const double start = ThreadNanoseconds();
  for (const auto& [socket, at] : sockets) {
    if (bind(socket.get(), at.get(), at.size) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("bind to ", address, " port ", at.port()));
    }
  }
  return (ThreadNanoseconds() - start) / static_cast<double>(kTimes);
}

}  // namespace

absl::StatusOr<std::vector<Comparison>> BindComparisons(Programs& programs) {
  std::vector<Comparison> comparisons;
  const auto add = [&](const std::string& what, const std::string& address, Transport transport,
                       uint16_t first) {
    comparisons.push_back({"bind", what, programs.Variants(Programs::Hook::kBind, [=] {
                             return Bind(address, transport, first);
                           })});
  };
  add("UDP, no NodePort", "127.0.0.1", Transport::kUdp, kPlainPorts);
  add("UDP over IPv6, no NodePort", "::1", Transport::kUdp, kPlainPorts);
  add("TCP, no NodePort", "127.0.0.1", Transport::kTcp, kPlainPorts);
  add("TCP, NodePort", "127.0.0.1", Transport::kTcp, kNodePorts);
  return comparisons;
}

}  // namespace npg::bench
