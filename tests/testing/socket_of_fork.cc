// SPDX-License-Identifier: Apache-2.0
#include "testing/socket_of_fork.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/command.h"

namespace npg::testing {
namespace {

using base::ErrnoStatus;
using base::UniqueFd;

// A message of one byte with room for a file descriptor.
struct FdMessage {
  FdMessage() {
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  FdMessage(const FdMessage&) = delete;
  FdMessage& operator=(const FdMessage&) = delete;

  char byte = 'x';
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
};

// Sends `socket` to the reader of the other end of `channel`.
bool SendSocket(int channel, int socket) {
  FdMessage message;
  cmsghdr* const part = CMSG_FIRSTHDR(&message.header);
  part->cmsg_level = SOL_SOCKET;
  part->cmsg_type = SCM_RIGHTS;
  part->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(part), &socket, sizeof(socket));
  return sendmsg(channel, &message.header, 0) == 1;
}

absl::StatusOr<UniqueFd> ReceiveSocket(int channel) {
  FdMessage message;
  if (recvmsg(channel, &message.header, MSG_CMSG_CLOEXEC) != 1) {
    return ErrnoStatus(errno, "recvmsg");
  }
  const cmsghdr* const part = CMSG_FIRSTHDR(&message.header);
  if (part == nullptr) return absl::NotFoundError("no socket came");
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(part), sizeof(fd));
  return UniqueFd(fd);
}

}  // namespace

absl::StatusOr<UniqueFd> SocketOfFork(const std::function<absl::StatusOr<UniqueFd>()>& open) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  const UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  const auto said = RunInFork([&]() -> std::string {
    const auto socket = open();
    if (!socket.ok()) return std::string(socket.status().message());
    return SendSocket(theirs.get(), socket->get()) ? "passed on" : "could not pass it on";
  });
  if (!said.ok()) return said.status();
  if (*said != "passed on") return absl::InternalError(*said);
  return ReceiveSocket(ours.get());
}

}  // namespace npg::testing
