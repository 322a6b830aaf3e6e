// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_SUBPROCESS_H_
#define NODEPORT_GUARD_BASE_SUBPROCESS_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace npg::base {

// Runs a command beside the event loop and collects its output, or passes it on. Kills the
// processes that the command left behind when it exits. The command has its own process group,
// /dev/null as standard input, an empty signal mask and LC_ALL=C, and inherits the rest of the
// environment.
class Subprocess {
 public:
  struct Limits {
    absl::Duration timeout = absl::Seconds(30);
    size_t output_bytes = size_t{256} << 20;
  };

  // Receives standard output when the command exited with 0. Otherwise the error is one
  // line with the command's name: DEADLINE_EXCEEDED after the timeout, RESOURCE_EXHAUSTED
  // when it printed more than output_bytes, INTERNAL with the exit code and the start of
  // standard error when it failed.
  using Done = std::function<void(absl::StatusOr<std::string> output)>;

  // Runs argv[0], an absolute path, with the arguments argv. `done` is called
  // once, from the loop, when the command has exited; it may destroy the
  // Subprocess. An error here means that nothing was started.
  static absl::StatusOr<std::unique_ptr<Subprocess>> Start(EventLoop& loop,
                                                           const std::vector<std::string>& argv,
                                                           const Limits& limits, Done done);

  // Receives the next bytes of standard output, split anywhere. It must not destroy the Subprocess.
  using Output = std::function<void(absl::string_view piece)>;

  // The same, but `output` receives standard output as it comes, limits.output_bytes in total. All
  // of it has been passed on when `done` receives an empty text, and an unknown part of it when
  // `done` receives an error.
  static absl::StatusOr<std::unique_ptr<Subprocess>> Start(EventLoop& loop,
                                                           const std::vector<std::string>& argv,
                                                           const Limits& limits, Output output,
                                                           Done done);

  // Kills the process group and waits for the command if it still runs; does not call
  // `done`.
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

 private:
  Subprocess(EventLoop& loop, const Limits& limits, Output output, Done done)
      : loop_(loop), limits_(limits), output_(std::move(output)), done_(std::move(done)) {}

  // One end of a pipe and the data that was read from it.
  struct Stream {
    UniqueFd fd;
    std::string text;       // unless it is passed on
    size_t limit = 0;       // bytes that are kept or passed on
    size_t taken = 0;       // of them
    bool overflow = false;  // further bytes were dropped
  };

  absl::Status Spawn(const std::vector<std::string>& argv);
  absl::Status Watch();
  void Drain(Stream& stream);
  void Take(Stream& stream, absl::string_view piece);
  void OnOutput(Stream& stream);
  void OnExit();
  absl::Status TooMuchOutput() const;
  void Kill() const;
  // Reaps the command: OK when it exited with 0.
  absl::Status Reap();
  void Close(Stream& stream);
  void Finish(absl::StatusOr<std::string> result);

  EventLoop& loop_;
  const Limits limits_;
  const Output output_;  // none: standard output is collected
  Done done_;
  std::string name_;
  pid_t pid_ = 0;  // 0: nothing runs, or it has been reaped
  UniqueFd pidfd_;
  Stream out_, err_;
  EventLoop::TimerId timer_ = 0;
};

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_SUBPROCESS_H_
