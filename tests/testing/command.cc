// SPDX-License-Identifier: Apache-2.0
#include "testing/command.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "testing/wait_until.h"

namespace npg::testing {
namespace {

using base::ErrnoStatus;
using base::UniqueFd;

constexpr int kCannotRun = 127;  // the exit code of the shell for a missing command

// Reads from the start, because the writer shares the file position.
std::string ReadAll(int fd) {
  std::string text;
  std::array<char, 16384> buffer{};
  for (;;) {
    const ssize_t size = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(text.size()));
    if (size <= 0) return text;
    text.append(buffer.data(), static_cast<size_t>(size));
  }
}

absl::Status WriteAll(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t size = write(fd, text.data(), text.size());
    if (size < 0) return ErrnoStatus(errno, "write");
    text.remove_prefix(static_cast<size_t>(size));
  }
  return absl::OkStatus();
}

// The standard input of a child: a file in memory, or a pipe that can be kept open.
struct Input {
  UniqueFd read_end, write_end;
};

absl::StatusOr<Input> MakeInput(absl::string_view text, bool keep_open) {
  Input input;
  if (!keep_open) {
    input.read_end.Reset(memfd_create("stdin", MFD_CLOEXEC));
    if (!input.read_end) return ErrnoStatus(errno, "memfd_create");
    NPG_RETURN_IF_ERROR(WriteAll(input.read_end.get(), text));
    lseek(input.read_end.get(), 0, SEEK_SET);
    return input;
  }
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
  input.read_end.Reset(ends[0]);
  input.write_end.Reset(ends[1]);
  NPG_RETURN_IF_ERROR(WriteAll(input.write_end.get(), text));
  return input;
}

}  // namespace

std::string OwnComm() {
  std::array<char, 16> name{};
  prctl(PR_GET_NAME, name.data());
  return name.data();
}

absl::StatusOr<ChildProcess> ChildProcess::Start(const std::vector<std::string>& argv,
                                                 absl::string_view input, bool keep_input_open) {
  auto in = MakeInput(input, keep_input_open);
  if (!in.ok()) return in.status();
  ChildProcess child;
  child.input_ = std::move(in->write_end);
  child.out_.Reset(memfd_create("stdout", MFD_CLOEXEC));
  child.err_.Reset(memfd_create("stderr", MFD_CLOEXEC));
  if (!child.out_ || !child.err_) return ErrnoStatus(errno, "memfd_create");

  std::vector<char*> arguments;
  arguments.reserve(argv.size() + 1);
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::array<int, 2> started{};
  if (pipe2(started.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe2");
  const UniqueFd started_read(started[0]);
  UniqueFd started_write(started[1]);
  const pid_t parent = getpid();
  child.pid_ = fork();
  if (child.pid_ < 0) return ErrnoStatus(errno, absl::StrCat("fork for ", argv[0]));
  if (child.pid_ == 0) {
    // The child must not outlive a test that is killed by its timeout.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kCannotRun);
    dup2(in->read_end.get(), STDIN_FILENO);
    dup2(child.out_.get(), STDOUT_FILENO);
    dup2(child.err_.get(), STDERR_FILENO);
    execvp(arguments[0], arguments.data());
    dprintf(STDERR_FILENO, "%s: cannot be run: errno %d\n", arguments[0], errno);
    _exit(kCannotRun);
  }
  // Until exec() the child holds copies of the sockets of this process, so that a
  // listener that the test closes would stay open.
  started_write.Reset();
  char nothing = 0;
  while (read(started_read.get(), &nothing, 1) < 0 && errno == EINTR) {
  }
  return child;
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept { *this = std::move(other); }

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(exit_code_, other.exit_code_);
  std::swap(input_, other.input_);
  std::swap(out_, other.out_);
  std::swap(err_, other.err_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void ChildProcess::Reap(int wait_status) {
  exit_code_ = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
  pid_ = -1;
}

bool ChildProcess::Running() {
  if (pid_ < 0) return false;
  int wait_status = 0;
  if (waitpid(pid_, &wait_status, WNOHANG) == 0) return true;
  Reap(wait_status);
  return false;
}

void ChildProcess::Signal(int signal_number) {
  if (pid_ > 0) kill(pid_, signal_number);
}

std::string ChildProcess::Out() const { return ReadAll(out_.get()); }
std::string ChildProcess::Err() const { return ReadAll(err_.get()); }

absl::StatusOr<CommandResult> ChildProcess::Wait(absl::Duration deadline) {
  if (!WaitUntil(deadline, [this] { return !Running(); })) {
    return absl::DeadlineExceededError(
        absl::StrCat("process ", pid_, " still runs after ", absl::FormatDuration(deadline)));
  }
  return CommandResult{exit_code_, Out(), Err()};
}

absl::StatusOr<CommandResult> RunForResult(const std::vector<std::string>& argv,
                                           absl::string_view input) {
  auto child = ChildProcess::Start(argv, input);
  if (!child.ok()) return child.status();
  return child->Wait();
}

absl::StatusOr<std::string> RunCommand(const std::vector<std::string>& argv,
                                       absl::string_view input) {
  auto result = RunForResult(argv, input);
  if (!result.ok()) return result.status();
  if (result->exit_code != 0) {
    return absl::InternalError(absl::StrCat(absl::StrJoin(argv, " "), ": exit code ",
                                            result->exit_code, ": ", result->err));
  }
  return result->out;
}

absl::StatusOr<std::string> RunInFork(const std::function<std::string()>& function) {
  const UniqueFd answer(memfd_create("answer", MFD_CLOEXEC));
  if (!answer) return ErrnoStatus(errno, "memfd_create");
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    // _exit: the copy must not run the test process's destructors.
    _exit(WriteAll(answer.get(), function()).ok() ? 0 : 1);
  }
  int wait_status = 0;
  if (waitpid(pid, &wait_status, 0) != pid) return ErrnoStatus(errno, "waitpid");
  if (wait_status != 0) {
    return absl::InternalError(absl::StrCat("forked process ended with status ", wait_status));
  }
  return ReadAll(answer.get());
}

absl::Status BecomeNobody() {
  if (setgroups(0, nullptr) != 0 || setresgid(kNobodyUid, kNobodyUid, kNobodyUid) != 0 ||
      setresuid(kNobodyUid, kNobodyUid, kNobodyUid) != 0) {
    return ErrnoStatus(errno, "change to uid 65534");
  }
  // As after exec(); otherwise root would still own /proc/PID.
  if (prctl(PR_SET_DUMPABLE, 1) != 0) return ErrnoStatus(errno, "prctl");
  return absl::OkStatus();
}

}  // namespace npg::testing
