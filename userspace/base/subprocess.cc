// SPDX-License-Identifier: Apache-2.0
#include "base/subprocess.h"

#include <fcntl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill() is POSIX, not <csignal>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace npg::base {
namespace {

constexpr size_t kStandardErrorBytes = 4096;
constexpr size_t kStandardErrorShown = 300;

// The two structs of posix_spawn that own memory.
class FileActions {
 public:
  FileActions() { posix_spawn_file_actions_init(&actions_); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t* get() { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

class SpawnAttributes {
 public:
  SpawnAttributes() { posix_spawnattr_init(&attributes_); }
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  posix_spawnattr_t* get() { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

std::vector<std::string> Environment() {
  std::vector<std::string> variables = {"LC_ALL=C"};
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    if (!absl::StartsWith(*variable, "LC_ALL=")) variables.emplace_back(*variable);
  }
  return variables;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

absl::Status MakePipe(UniqueFd& read_end, UniqueFd& write_end) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  read_end.Reset(ends[0]);
  write_end.Reset(ends[1]);
  if (fcntl(read_end.get(), F_SETFL, O_NONBLOCK) != 0) {
    return ErrnoStatus(errno, "make a pipe non-blocking");
  }
  return absl::OkStatus();
}

// The command's standard error, as the end of one line.
std::string Complaint(absl::string_view standard_error) {
  const absl::string_view text = absl::StripSuffix(standard_error, "\n");
  if (text.empty()) return "";
  return absl::StrCat(": ",
                      absl::StrReplaceAll(text.substr(0, kStandardErrorShown), {{"\n", "; "}}));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Start(EventLoop& loop,
                                                              const std::vector<std::string>& argv,
                                                              const Limits& limits, Done done) {
  return Start(loop, argv, limits, nullptr, std::move(done));
}

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Start(EventLoop& loop,
                                                              const std::vector<std::string>& argv,
                                                              const Limits& limits, Output output,
                                                              Done done) {
  std::unique_ptr<Subprocess> process(
      new Subprocess(loop, limits, std::move(output), std::move(done)));
  NPG_RETURN_IF_ERROR(process->Spawn(argv));
  NPG_RETURN_IF_ERROR(process->Watch());
  return process;
}

absl::Status Subprocess::Spawn(const std::vector<std::string>& argv) {
  if (argv.empty()) return absl::InvalidArgumentError("run a command: no command given");
  name_ = argv[0];
  UniqueFd out, err;
  NPG_RETURN_IF_ERROR(MakePipe(out_.fd, out));
  NPG_RETURN_IF_ERROR(MakePipe(err_.fd, err));
  out_.limit = limits_.output_bytes;
  err_.limit = kStandardErrorBytes;

  FileActions actions;
  posix_spawn_file_actions_addopen(actions.get(), STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(actions.get(), out.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(actions.get(), err.get(), STDERR_FILENO);

  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  SpawnAttributes attributes;
  posix_spawnattr_setflags(attributes.get(),
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(attributes.get(), 0);
  posix_spawnattr_setsigmask(attributes.get(), &none);
  posix_spawnattr_setsigdefault(attributes.get(), &all);

  std::vector<std::string> arguments = argv;
  std::vector<std::string> environment = Environment();
  const int error = posix_spawn(&pid_, name_.c_str(), actions.get(), attributes.get(),
                                Pointers(arguments).data(), Pointers(environment).data());
  if (error != 0) {
    pid_ = 0;
    return ErrnoStatus(error, absl::StrCat("run ", name_));
  }
  return absl::OkStatus();
}

absl::Status Subprocess::Watch() {
  // glibc 2.36 declares pidfd_open() without C linkage: C++ cannot call it.
  pidfd_.Reset(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  if (!pidfd_) return ErrnoStatus(errno, absl::StrCat("watch ", name_));
  NPG_RETURN_IF_ERROR(loop_.AddFd(pidfd_.get(), EPOLLIN, [this](uint32_t) { OnExit(); }));
  for (Stream* stream : {&out_, &err_}) {
    NPG_RETURN_IF_ERROR(
        loop_.AddFd(stream->fd.get(), EPOLLIN, [this, stream](uint32_t) { OnOutput(*stream); }));
  }
  timer_ = loop_.After(limits_.timeout, [this] {
    Finish(absl::DeadlineExceededError(absl::StrCat(
        name_, " did not end within ", absl::FormatDuration(limits_.timeout), " and was killed")));
  });
  return absl::OkStatus();
}

Subprocess::~Subprocess() {
  Kill();
  (void)Reap();
  loop_.Cancel(timer_);
  Close(out_);
  Close(err_);
  if (pidfd_) loop_.RemoveFd(pidfd_.get());
}

void Subprocess::Close(Stream& stream) {
  if (!stream.fd) return;
  loop_.RemoveFd(stream.fd.get());
  stream.fd.Reset();
}

// Reads the available data; closes the stream at its end.
void Subprocess::Drain(Stream& stream) {
  std::array<char, 65536> chunk;
  while (stream.fd && !stream.overflow) {
    const ssize_t got = read(stream.fd.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return Close(stream);
    Take(stream, absl::string_view(chunk.data(), static_cast<size_t>(got)));
  }
}

void Subprocess::Take(Stream& stream, absl::string_view piece) {
  const absl::string_view kept = piece.substr(0, stream.limit - stream.taken);
  stream.taken += kept.size();
  stream.overflow = kept.size() < piece.size();
  if (&stream == &out_ && output_) {
    if (!kept.empty()) output_(kept);
  } else {
    absl::StrAppend(&stream.text, kept);
  }
}

void Subprocess::OnOutput(Stream& stream) {
  Drain(stream);
  if (out_.overflow) return Finish(TooMuchOutput());
  err_.overflow = false;  // the start of standard error is enough; keep draining the pipe
}

void Subprocess::OnExit() {
  // All output of the command is in the pipes by now. Do not wait for their end: a process
  // that the command left behind may hold them open.
  Drain(err_);
  Drain(out_);
  if (out_.overflow) return Finish(TooMuchOutput());
  Kill();  // its remaining processes; the command itself is a zombie, which keeps its pid
  const absl::Status exit = Reap();
  if (!exit.ok()) return Finish(exit);
  Finish(std::move(out_.text));
}

absl::Status Subprocess::TooMuchOutput() const {
  return absl::ResourceExhaustedError(
      absl::StrCat(name_, " printed more than ", limits_.output_bytes, " bytes and was killed"));
}

void Subprocess::Kill() const {
  // No other process has the pid until this one is reaped.
  if (pid_ > 0) kill(-pid_, SIGKILL);
}

absl::Status Subprocess::Reap() {
  if (pid_ == 0) return absl::OkStatus();
  siginfo_t info{};
  int waited = 0;
  do {
    waited = waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED);
  } while (waited != 0 && errno == EINTR);
  const int error = errno;
  pid_ = 0;
  if (waited != 0) return ErrnoStatus(error, absl::StrCat("wait for ", name_));
  if (info.si_code != CLD_EXITED) {
    return absl::InternalError(absl::StrCat(name_, " was killed by signal ", info.si_status));
  }
  if (info.si_status != 0) {
    return absl::InternalError(
        absl::StrCat(name_, " failed with exit code ", info.si_status, Complaint(err_.text)));
  }
  return absl::OkStatus();
}

void Subprocess::Finish(absl::StatusOr<std::string> result) {
  Kill();
  (void)Reap();
  loop_.Cancel(timer_);
  Close(out_);
  Close(err_);
  loop_.RemoveFd(pidfd_.get());
  pidfd_.Reset();
  // `done` may destroy this object: do not use any member after it.
  const Done done = std::move(done_);
  done(std::move(result));
}

}  // namespace npg::base
