// SPDX-License-Identifier: Apache-2.0
#include "bench/crowd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::bench {
namespace {

constexpr int kFirstFree = 3;  // descriptor, after the standard ones
constexpr char kReady = 'r';

// Stays open until the process ends.
bool Open(int type, uint16_t port) {
  const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
         (type != SOCK_STREAM || listen(fd, 1) == 0);
}

// Runs in each process of the crowd. Only system calls, because it is a fork of a process
// with threads.
[[noreturn]] void Live(pid_t parent, int ready, uint16_t fixed) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  // The handlers of the parent would delay the end of the crowd.
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP}) {
    if (std::signal(signal_number, SIG_DFL) == SIG_ERR) _exit(1);
  }
  if (dup2(ready, kFirstFree) < 0 || close_range(kFirstFree + 1, ~0U, 0) != 0) _exit(1);
  bool opened = Open(SOCK_DGRAM, 0) && Open(SOCK_STREAM, fixed);
  for (size_t i = 1; opened && i < Crowd::kTcpSocketsEach; ++i) opened = Open(SOCK_STREAM, 0);
  if (!opened || write(kFirstFree, &kReady, 1) != 1) _exit(1);
  close(kFirstFree);
  for (;;) pause();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Crowd>> Crowd::Gather(size_t processes,
                                                     const std::vector<uint16_t>& fixed,
                                                     absl::FunctionRef<bool()> stop) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return base::ErrnoStatus(errno, "pipe2");
  const base::UniqueFd ready(ends[0]);
  base::UniqueFd report(ends[1]);
  std::unique_ptr<Crowd> crowd(new Crowd());
  crowd->pids_.reserve(processes);
  const pid_t parent = getpid();
  for (size_t i = 0; i < processes; ++i) {
    if (stop()) return absl::CancelledError("interrupted");
    const pid_t pid = fork();
    if (pid < 0) return base::ErrnoStatus(errno, absl::StrCat("fork process ", i));
    if (pid == 0) Live(parent, report.get(), i < fixed.size() ? fixed[i] : uint16_t{0});
    crowd->pids_.push_back(pid);
  }
  report.Reset();
  size_t count = 0;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t size = read(ready.get(), buffer.data(), buffer.size());
    if (size < 0 && errno != EINTR) return base::ErrnoStatus(errno, "read from processes");
    if (size == 0) break;
    if (size > 0) count += static_cast<size_t>(size);
    if (stop()) return absl::CancelledError("interrupted");
  }
  if (count != processes) {
    return absl::InternalError(
        absl::StrCat(processes - count, " of ", processes, " processes could not open sockets"));
  }
  return crowd;
}

Crowd::~Crowd() {
  for (const pid_t pid : pids_) kill(pid, SIGKILL);
  for (const pid_t pid : pids_) waitpid(pid, nullptr, 0);
}

}  // namespace npg::bench
