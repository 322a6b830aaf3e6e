// SPDX-License-Identifier: Apache-2.0
#include "base/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::base {

// Sends one datagram itself: libsystemd would add its compressors and ciphers.
absl::Status NotifyServiceManager(absl::string_view assignments) {
  const char* const variable = std::getenv("NOTIFY_SOCKET");
  const absl::string_view path = variable == nullptr ? "" : variable;
  if (path.empty()) return absl::OkStatus();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if ((path.front() != '/' && path.front() != '@') || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("NOTIFY_SOCKET=", path, ": is no path of a socket"));
  }
  std::copy(path.begin(), path.end(), std::begin(address.sun_path));
  // An abstract name begins with a zero byte, and its length determines its end.
  if (path.front() == '@') address.sun_path[0] = '\0';
  const size_t length =
      offsetof(sockaddr_un, sun_path) + path.size() + (path.front() == '@' ? 0 : 1);
  const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return ErrnoStatus(errno, "make a socket to the service manager");
  if (sendto(socket.get(), assignments.data(), assignments.size(), MSG_NOSIGNAL,
             reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(length)) < 0) {
    return ErrnoStatus(errno, absl::StrCat("notify the service manager at ", path));
  }
  return absl::OkStatus();
}

}  // namespace npg::base
