// SPDX-License-Identifier: Apache-2.0
#include "testing/transport.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::testing {
namespace {

// IPPROTO_MPTCP, absent from older C libraries.
constexpr int kIpprotoMptcp = 262;

}  // namespace

absl::string_view TransportName(Transport transport) {
  switch (transport) {
    case Transport::kTcp:
      return "TCP";
    case Transport::kUdp:
      return "UDP";
    case Transport::kMptcp:
      return "MPTCP";
  }
  return "?";
}

uint8_t NodePortProtocol(Transport transport) {
  return transport == Transport::kUdp ? IPPROTO_UDP : IPPROTO_TCP;
}

uint16_t SocketAddress::port() const {
  return ntohs(family() == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_port
                                    : reinterpret_cast<const sockaddr_in*>(&storage)->sin_port);
}

absl::StatusOr<SocketAddress> MakeAddress(absl::string_view address, uint16_t port) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(address, absl::MaxSplits('%', 1));
  const auto& [text, interface] = parts;
  SocketAddress made;
  auto* const v4 = reinterpret_cast<sockaddr_in*>(&made.storage);
  if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    made.size = sizeof(sockaddr_in);
    return made;
  }
  auto* const v6 = reinterpret_cast<sockaddr_in6*>(&made.storage);
  if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    v6->sin6_scope_id = if_nametoindex(interface.c_str());  // 0 if there is no interface
    made.size = sizeof(sockaddr_in6);
    return made;
  }
  return absl::InvalidArgumentError(absl::StrCat("'", address, "' is not an IP address"));
}

absl::StatusOr<base::UniqueFd> OpenSocket(int family, Transport transport) {
  const int type = transport == Transport::kUdp ? SOCK_DGRAM : SOCK_STREAM;
  const int protocol = transport == Transport::kMptcp ? kIpprotoMptcp : 0;
  base::UniqueFd fd(socket(family, type | SOCK_CLOEXEC, protocol));
  if (!fd) return base::ErrnoStatus(errno, absl::StrCat("socket for ", TransportName(transport)));
  return fd;
}

std::vector<Transport> Transports() {
  std::vector<Transport> transports = {Transport::kTcp, Transport::kUdp};
  if (OpenSocket(AF_INET, Transport::kMptcp).ok()) transports.push_back(Transport::kMptcp);
  return transports;
}

absl::StatusOr<base::UniqueFd> ListenOn(absl::string_view address, uint16_t port) {
  const absl::StatusOr<SocketAddress> where = MakeAddress(address, port);
  if (!where.ok()) return where.status();
  absl::StatusOr<base::UniqueFd> fd = OpenSocket(where->family(), Transport::kTcp);
  if (!fd.ok()) return fd;
  if (bind(fd->get(), where->get(), where->size) != 0 || listen(fd->get(), SOMAXCONN) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("listen on ", address, ":", port));
  }
  return fd;
}

uint16_t LocalPort(int fd) {
  SocketAddress address;
  address.size = sizeof(address.storage);
  if (getsockname(fd, address.get(), &address.size) != 0) return 0;
  return address.port();
}

}  // namespace npg::testing
