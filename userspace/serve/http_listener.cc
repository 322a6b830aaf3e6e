// SPDX-License-Identifier: Apache-2.0
#include "serve/http_listener.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "serve/http_address.h"

namespace npg::serve {
namespace {

absl::string_view Advice(int error) {
  switch (error) {
    case EADDRINUSE:
      return "; see who listens there with 'ss -ltnp', or name another with --http-address";
    case EADDRNOTAVAIL:
      return "; name an address of this node with --http-address";
    case EACCES:
      return "; name a port from 1024 on with --http-address";
    case EAFNOSUPPORT:
      return "; this node has no such addresses, name another with --http-address";
    default:
      return "; name another with --http-address, or off";
  }
}

absl::Status Failed(int error, const HttpAddress& address) {
  const absl::Status status =
      base::ErrnoStatus(error, absl::StrCat("listen for HTTP on ", ToString(address)));
  return {status.code(), absl::StrCat(status.message(), Advice(error))};
}

uint16_t PortOf(int fd) {
  sockaddr_in6 name{};  // the port is at the same place for both families
  socklen_t size = sizeof(name);
  getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size);
  return ntohs(name.sin6_port);
}

}  // namespace

absl::StatusOr<base::UniqueFd> ListenForHttp(HttpAddress& address) {
  base::UniqueFd fd(socket(address.v6 ? AF_INET6 : AF_INET,
                           SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!fd) return Failed(errno, address);
  const int on = 1;
  // Connections of the last run may be in TIME_WAIT.
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_storage storage{};
  socklen_t size = 0;
  if (address.v6) {
    // [::] must not include the IPv4 addresses.
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    std::copy(address.bytes.begin(), address.bytes.end(), std::begin(v6.sin6_addr.s6_addr));
    size = sizeof(v6);
    std::memcpy(&storage, &v6, size);
  } else {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    std::memcpy(&v4.sin_addr, address.bytes.data(), sizeof(v4.sin_addr));
    size = sizeof(v4);
    std::memcpy(&storage, &v4, size);
  }
  constexpr int kBacklog = 64;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), size) != 0 ||
      listen(fd.get(), kBacklog) != 0) {
    return Failed(errno, address);
  }
  address.port = PortOf(fd.get());
  return fd;
}

}  // namespace npg::serve
