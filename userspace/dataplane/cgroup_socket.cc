// SPDX-License-Identifier: Apache-2.0
#include "dataplane/cgroup_socket.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::dataplane {
namespace {

// Every process is in the root of the hierarchy or below it.
bool IsRoot(int cgroup_fd) {
  constexpr ino_t kRootId = 1;
  struct stat cgroup {};
  return fstat(cgroup_fd, &cgroup) == 0 && cgroup.st_ino == kRootId;
}

absl::StatusOr<base::UniqueFd> SocketHere(int family, int type) {
  base::UniqueFd fd(socket(family, type, 0));
  if (!fd) return base::ErrnoStatus(errno, "create a socket");
  return fd;
}

// What the child says: the descriptor's number, in the table that both share,
// or a negative errno.
struct Answer {
  int socket_or_error = 0;
};

}  // namespace

absl::StatusOr<base::UniqueFd> SocketInCgroup(int cgroup_fd, int family, int type) {
  std::array<int, 2> pipe_fds{};
  if (IsRoot(cgroup_fd)) return SocketHere(family, type);
  // Not to be waited on: the child may have died before it wrote.
  if (pipe2(pipe_fds.data(), O_CLOEXEC | O_NONBLOCK) != 0) return base::ErrnoStatus(errno, "pipe");
  const base::UniqueFd reader(pipe_fds[0]);
  const base::UniqueFd writer(pipe_fds[1]);
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP | CLONE_FILES;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<uint64_t>(cgroup_fd);
  const auto child = static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (child == 0) {
    // Between fork and exit of a process with threads: system calls, nothing else.
    Answer answer{socket(family, type, 0)};
    if (answer.socket_or_error < 0) answer.socket_or_error = -errno;
    const ssize_t written = write(pipe_fds[1], &answer, sizeof(answer));
    _exit(written == sizeof(answer) ? 0 : 1);
  }
  if (child < 0) {
    if (errno == ENODEV) {
      return absl::NotFoundError("create a socket in the guarded cgroup: it was removed");
    }
    return SocketHere(family, type);
  }
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  Answer answer{-EIO};
  if (read(reader.get(), &answer, sizeof(answer)) != sizeof(answer)) answer.socket_or_error = -EIO;
  if (answer.socket_or_error < 0) {
    return base::ErrnoStatus(-answer.socket_or_error, "create a socket in the guarded cgroup");
  }
  return base::UniqueFd(answer.socket_or_error);
}

}  // namespace npg::dataplane
