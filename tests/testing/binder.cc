// SPDX-License-Identifier: Apache-2.0
#include "testing/binder.h"

#include <sys/prctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/command.h"
#include "testing/socket_of_fork.h"
#include "testing/test_cgroup.h"
#include "testing/transport.h"

namespace npg::testing {
namespace {

constexpr const char* kBound = "bound";

std::string ErrnoText(int error) {
  switch (error) {
    case EADDRINUSE:
      return "EADDRINUSE";
    case EPERM:
      return "EPERM";
    case EACCES:
      return "EACCES";
    case EADDRNOTAVAIL:
      return "EADDRNOTAVAIL";
    default:
      return std::strerror(error);
  }
}

// Changes this process, and opens the socket.
absl::StatusOr<base::UniqueFd> OpenAs(const BindCall& call, int family) {
  if (!call.comm.empty()) prctl(PR_SET_NAME, call.comm.c_str());
  if (!call.cgroup.empty()) NPG_RETURN_IF_ERROR(TestCgroup::Enter(call.cgroup));
  if (call.nobody) NPG_RETURN_IF_ERROR(BecomeNobody());
  absl::StatusOr<base::UniqueFd> fd = OpenSocket(family, call.transport);
  if (!fd.ok() || call.device.empty()) return fd;
  if (setsockopt(fd->get(), SOL_SOCKET, SO_BINDTODEVICE, call.device.data(),
                 static_cast<socklen_t>(call.device.size())) != 0) {
    return base::ErrnoStatus(errno, "SO_BINDTODEVICE");
  }
  return fd;
}

// `error` is the errno of bind(), 0 if it succeeded or was not reached.
absl::StatusOr<base::UniqueFd> BindAs(const BindCall& call, int& error) {
  error = 0;
  const auto address = MakeAddress(call.address, call.port);
  if (!address.ok()) return address.status();
  absl::StatusOr<base::UniqueFd> fd = OpenAs(call, address->family());
  if (!fd.ok()) return fd;
  if (bind(fd->get(), address->get(), address->size) != 0) {
    error = errno;
    if (error == EADDRINUSE) return absl::AlreadyExistsError("bind: EADDRINUSE");
    return base::ErrnoStatus(error, "bind");
  }
  if (call.listen && call.transport != Transport::kUdp && listen(fd->get(), SOMAXCONN) != 0) {
    return base::ErrnoStatus(errno, "listen");
  }
  return fd;
}

}  // namespace

std::string ToString(const BindCall& call) {
  return absl::StrCat(TransportName(call.transport), " ", call.address, ":", call.port,
                      call.nobody ? " of nobody" : "",
                      call.comm.empty() ? "" : absl::StrCat(" of ", call.comm));
}

std::string TryBind(const BindCall& call) {
  const absl::StatusOr<std::string> answer = RunInFork([&call]() -> std::string {
    int error = 0;
    const absl::StatusOr<base::UniqueFd> fd = BindAs(call, error);
    if (fd.ok()) return kBound;
    return error != 0 ? ErrnoText(error) : std::string(fd.status().message());
  });
  return answer.ok() ? *answer : std::string(answer.status().message());
}

absl::StatusOr<base::UniqueFd> HoldBind(const BindCall& call) {
  return SocketOfFork([&call] {
    int error = 0;
    return BindAs(call, error);
  });
}

}  // namespace npg::testing
