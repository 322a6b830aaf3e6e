// SPDX-License-Identifier: Apache-2.0
#include "controller/probe_loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "core/desired_state.h"
#include "core/port.h"
#include "core/port_blocks.h"

namespace npg::controller {
namespace {

constexpr int kMaxPorts = 8;          // attempts to get a port that is no NodePort,
constexpr int kMaxPortsInRange = 16;  // and one that is also in the range of the NodePorts
// The API server's default for --service-node-port-range.
constexpr uint16_t kFirstNodePort = 30000;
constexpr uint16_t kLastNodePort = 32767;

absl::StatusOr<uint16_t> BoundPort(int fd) {
  SocketAddress bound;
  bound.size = sizeof(bound.storage);
  if (getsockname(fd, bound.get(), &bound.size) != 0) {
    return base::ErrnoStatus(errno, "getsockname");
  }
  return EndOf(bound).port;
}

// Lets an IPv6 socket use v4-mapped addresses, whatever net.ipv6.bindv6only is.
void AllowMapped(int fd, int family) {
  constexpr int kOff = 0;
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &kOff, sizeof(kOff));
}

}  // namespace

SocketAddress Loopback(int family, bool v4, uint16_t port) {
  SocketAddress address;
  if (family == AF_INET) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(&address.storage, &in, sizeof(in));
    address.size = sizeof(in);
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    in.sin6_addr = in6addr_loopback;
    if (v4) {
      in.sin6_addr = in6_addr{};
      in.sin6_addr.s6_addr[10] = in.sin6_addr.s6_addr[11] = 0xff;
      const in_addr_t loopback = htonl(INADDR_LOOPBACK);
      std::memcpy(&in.sin6_addr.s6_addr[12], &loopback, sizeof(loopback));
    }
    std::memcpy(&address.storage, &in, sizeof(in));
    address.size = sizeof(in);
  }
  return address;
}

SocketEnd EndOf(const SocketAddress& address) {
  SocketEnd end;
  if (address.storage.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &address.storage, sizeof(in));
    end.address[10] = end.address[11] = 0xff;
    std::memcpy(&end.address[12], &in.sin_addr, sizeof(in.sin_addr));
    end.port = ntohs(in.sin_port);
  } else {
    sockaddr_in6 in{};
    std::memcpy(&in, &address.storage, sizeof(in));
    std::memcpy(end.address.data(), &in.sin6_addr, sizeof(in.sin6_addr));
    end.port = ntohs(in.sin6_port);
  }
  return end;
}

absl::Status CannotTell(const absl::Status& status) {
  if (status.ok() || absl::IsUnavailable(status)) return status;
  return absl::UnavailableError(status.message());
}

absl::Status BindApart(int fd, int family, int type, bool v4, core::Protocol protocol,
                       const core::PortEntries& nodeports, uint16_t& port) {
  const char* const what = v4 ? "bind to 127.0.0.1" : "bind to ::1";
  if (v4) AllowMapped(fd, family);
  for (int i = 0; i < kMaxPorts; ++i) {
    if (port == 0 || nodeports.contains(core::PortKey{port, protocol})) {
      // A socket can be bound once, so another one finds the port.
      const base::UniqueFd scout(socket(family, type | SOCK_CLOEXEC, 0));
      if (v4 && scout) AllowMapped(scout.get(), family);
      const SocketAddress any = Loopback(family, v4, 0);
      if (!scout || bind(scout.get(), any.get(), any.size) != 0) {
        const int error = errno;
        if (error == EADDRNOTAVAIL) return absl::NotFoundError(what);
        return CannotTell(base::ErrnoStatus(error, what));
      }
      const absl::StatusOr<uint16_t> picked = BoundPort(scout.get());
      if (!picked.ok()) return CannotTell(picked.status());
      port = *picked;
      if (nodeports.contains(core::PortKey{port, protocol})) continue;
    }
    const SocketAddress wanted = Loopback(family, v4, port);
    if (bind(fd, wanted.get(), wanted.size) == 0) return absl::OkStatus();
    const int error = errno;
    if (error == EADDRNOTAVAIL) return absl::NotFoundError(what);
    if (error != EADDRINUSE) return CannotTell(base::ErrnoStatus(error, what));
    port = 0;
  }
  return absl::UnavailableError(absl::StrCat(
      what, ": each of ", kMaxPorts,
      " ports that the kernel picked is a NodePort, or was taken by another process; keep "
      "net.ipv4.ip_local_port_range out of the range of NodePorts"));
}

bool BindAmongNodePorts(int fd, int family, bool v4, core::Protocol protocol,
                        const core::PortEntries& nodeports, uint16_t& port) {
  const bool none = nodeports.empty();
  const uint32_t low = none ? kFirstNodePort : nodeports.begin()->first.port;
  const uint32_t high = none ? kLastNodePort : nodeports.rbegin()->first.port;
  core::PortBlocks blocks = core::BlocksOf(nodeports);
  blocks.Add(core::PortBlocks::Default());
  for (int i = 0; i < kMaxPortsInRange; ++i) {
    uint32_t drawn = 0;
    if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) != ssize_t{sizeof(drawn)}) return false;
    const auto picked = static_cast<uint16_t>(low + drawn % (high - low + 1));
    if (!blocks.Contains(picked) || nodeports.contains(core::PortKey{picked, protocol})) continue;
    const SocketAddress wanted = Loopback(family, v4, picked);
    if (bind(fd, wanted.get(), wanted.size) != 0) continue;
    port = picked;
    return true;
  }
  return false;
}

void ResetAtClose(int fd) {
  constexpr linger kReset{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &kReset, sizeof(kReset));
}

}  // namespace npg::controller
