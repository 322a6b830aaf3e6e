// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/cgroup_socket.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "node/cgroups.h"

namespace npg::dataplane {
namespace {

// A message with an errno and room for a file descriptor.
struct Message {
  Message() {
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  int error = 0;
  iovec data{&error, sizeof(error)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
};

// Sends a socket of this kind, or why there is none. Makes system calls only.
bool MakeAndPassOn(int channel, const CgroupSockets::Kind& kind) {
  Message message;
  const int fd = socket(kind.family, kind.type, 0);
  if (fd < 0) {
    message.error = errno;
    message.header.msg_control = nullptr;
    message.header.msg_controllen = 0;
  } else {
    cmsghdr* const part = CMSG_FIRSTHDR(&message.header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(fd));
    std::memcpy(CMSG_DATA(part), &fd, sizeof(fd));
  }
  return sendmsg(channel, &message.header, 0) == sizeof(message.error);
}

// Runs between fork and exit of a process with threads: makes system calls only.
[[noreturn]] void MakeAll(int channel, const std::vector<CgroupSockets::Kind>& kinds) {
  for (const CgroupSockets::Kind& kind : kinds) {
    if (!MakeAndPassOn(channel, kind)) _exit(1);
  }
  _exit(0);
}

// Kills and reaps the child. In a frozen or throttled cgroup, a process may not even
// start, but SIGKILL ends it.
void Reap(pid_t child, int pidfd) {
  constexpr int kMilliseconds = 500;
  pollfd ended{pidfd, POLLIN, 0};
  if (poll(&ended, 1, kMilliseconds) <= 0) kill(child, SIGKILL);
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

// Closes all descriptors of the calling thread but two, in a table of its own: the other
// threads keep theirs. Without close_range(2) (a seccomp profile that does not know it), the
// thread keeps all.
void KeepOnly(int one, int other) {
  const auto low = static_cast<unsigned>(std::min(one, other));
  const auto high = static_cast<unsigned>(std::max(one, other));
  // Nothing may be closed in the shared table, so the call that unshares comes first.
  if (syscall(SYS_close_range, high + 1, ~0U, CLOSE_RANGE_UNSHARE) != 0) return;
  if (low + 1 < high) syscall(SYS_close_range, low + 1, high - 1, 0);
  if (low > 0) syscall(SYS_close_range, 0, low - 1, 0);
}

// Starts the child and waits for its end; 0, or the errno of clone3(2). Runs on a thread of
// its own.
//
// A child that is stopped or frozen can outlive this process, and would keep open what it
// inherits: the lock on the pin folder, the links, the socket that owns the nft table, the
// HTTP port. The kernel copies the table of the thread that calls clone3(2), so that thread
// gives up all else before: a child that never runs an instruction has no more either.
int StartAndReap(int cgroup_fd, int channel, const std::vector<CgroupSockets::Kind>& kinds) {
  KeepOnly(cgroup_fd, channel);
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<uint64_t>(cgroup_fd);
  const auto child = static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (child == 0) MakeAll(channel, kinds);
  if (child < 0) return errno;
  const base::UniqueFd ended(pidfd);
  Reap(child, ended.get());
  return 0;
}

absl::StatusOr<base::UniqueFd> ReceiveOne(int channel) {
  Message message;
  if (recvmsg(channel, &message.header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) !=
      static_cast<ssize_t>(sizeof(message.error))) {
    return absl::UnavailableError("a process in the guarded cgroup got no time; is it frozen?");
  }
  const cmsghdr* const part = CMSG_FIRSTHDR(&message.header);
  if (part == nullptr) {
    return base::ErrnoStatus(message.error, "create a socket in the guarded cgroup");
  }
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(part), sizeof(fd));
  return base::UniqueFd(fd);
}

}  // namespace

CgroupSockets::CgroupSockets(std::vector<Kind> kinds)
    : kinds_(std::move(kinds)), end_(ended_.get_future()) {}

CgroupSockets::~CgroupSockets() {
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<std::unique_ptr<CgroupSockets>> CgroupSockets::Start(int cgroup_fd,
                                                                    std::vector<Kind> kinds) {
  std::unique_ptr<CgroupSockets> sockets(new CgroupSockets(std::move(kinds)));
  // Every process is in the root or below it.
  if (node::IsHierarchyRoot(cgroup_fd)) return sockets;
  // The caller may close its own while the thread runs.
  sockets->cgroup_.Reset(fcntl(cgroup_fd, F_DUPFD_CLOEXEC, 0));
  if (!sockets->cgroup_) return base::ErrnoStatus(errno, "duplicate the cgroup's descriptor");
  std::array<int, 2> channel{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel.data()) != 0) {
    return base::ErrnoStatus(errno, "socketpair");
  }
  sockets->reader_.Reset(channel[0]);
  sockets->writer_.Reset(channel[1]);
  absl::StatusOr<std::thread> thread = base::StartThread("npg-cgroup", [running = sockets.get()] {
    running->ended_.set_value(
        StartAndReap(running->cgroup_.get(), running->writer_.get(), running->kinds_));
  });
  sockets->started_ = thread.status();
  if (thread.ok()) sockets->thread_ = *std::move(thread);
  return sockets;
}

CgroupSockets::Made CgroupSockets::MakeHere(absl::Status entered) const {
  Made made{{}, std::move(entered)};
  for (const Kind& kind : kinds_) {
    base::UniqueFd fd(socket(kind.family, kind.type, 0));
    if (fd) {
      made.sockets.emplace_back(std::move(fd));
    } else {
      made.sockets.emplace_back(base::ErrnoStatus(errno, "create a socket"));
    }
  }
  return made;
}

absl::StatusOr<CgroupSockets::Made> CgroupSockets::Receive() const {
  Made made;
  for (size_t i = 0; i < kinds_.size(); ++i) {
    absl::StatusOr<base::UniqueFd> fd = ReceiveOne(reader_.get());
    if (absl::IsUnavailable(fd.status())) return fd.status();
    made.sockets.push_back(std::move(fd));
  }
  return made;
}

std::optional<absl::StatusOr<CgroupSockets::Made>> CgroupSockets::Take(absl::Duration wait) {
  if (!thread_.joinable()) return MakeHere(started_);
  if (end_.wait_for(absl::ToChronoMicroseconds(wait)) != std::future_status::ready) {
    return std::nullopt;
  }
  const int error = end_.get();
  thread_.join();
  if (error == ENODEV) {
    return absl::NotFoundError("create a socket in the guarded cgroup: it was removed");
  }
  if (error != 0) {
    return MakeHere(base::ErrnoStatus(error, "start a process in the guarded cgroup"));
  }
  return Receive();
}

}  // namespace npg::dataplane
