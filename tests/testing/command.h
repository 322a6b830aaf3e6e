// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_COMMAND_H_
#define NODEPORT_GUARD_TESTS_TESTING_COMMAND_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "testing/wait_until.h"

namespace npg::testing {

// How a command ended, and what it said.
struct CommandResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string out;
  std::string err;
};

// The name of this thread (comm), as the kernel and /proc have it.
std::string OwnComm();

// A program that runs beside the test, in the namespaces of the thread that
// started it. Killed and reaped at the latest by the destructor, and killed
// when that thread ends.
class ChildProcess {
 public:
  // argv[0] is looked up in PATH; what cannot be run exits with 127. Standard input reads `input`,
  // or, with keep_input_open, `input` and then nothing until CloseInput().
  static absl::StatusOr<ChildProcess> Start(const std::vector<std::string>& argv,
                                            absl::string_view input = "",
                                            bool keep_input_open = false);
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  bool Running();
  void Signal(int signal_number);
  void CloseInput() { input_.Reset(); }

  // What it has written so far.
  std::string Out() const;
  std::string Err() const;

  // DEADLINE_EXCEEDED when it still runs after `deadline`.
  absl::StatusOr<CommandResult> Wait(absl::Duration deadline = kPatience);

 private:
  ChildProcess() = default;
  void Reap(int wait_status);

  pid_t pid_ = -1;
  int exit_code_ = -1;
  base::UniqueFd input_, out_, err_;
};

// Runs a command to its end. An error only when it could not be run or did not
// end; an exit code other than 0 is a result.
absl::StatusOr<CommandResult> RunForResult(const std::vector<std::string>& argv,
                                           absl::string_view input = "");

// The same for a command that is to succeed: its standard output, or INTERNAL
// with its standard error.
absl::StatusOr<std::string> RunCommand(const std::vector<std::string>& argv,
                                       absl::string_view input = "");

// Runs `function` in a forked copy of this process and returns its answer: for
// what a process does to itself for good (its user, its cgroup).
absl::StatusOr<std::string> RunInFork(const std::function<std::string()>& function);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_COMMAND_H_
