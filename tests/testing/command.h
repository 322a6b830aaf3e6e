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

// The exit code and the output of a command.
struct CommandResult {
  int exit_code = -1;  // 128 + signal if a signal ended it
  std::string out;
  std::string err;
};

// The name of this thread (comm).
std::string OwnComm();

// A program that runs beside the test, in the namespaces of the thread that started
// it. Killed when that thread ends; the destructor kills and reaps it.
class ChildProcess {
 public:
  // argv[0] is looked up in PATH; if it cannot be run, the child exits with 127. Standard input
  // reads `input`, or, with keep_input_open, `input` and then nothing until CloseInput().
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

  // The output so far.
  std::string Out() const;
  std::string Err() const;

  // DEADLINE_EXCEEDED if it still runs after `deadline`.
  absl::StatusOr<CommandResult> Wait(absl::Duration deadline = kPatience);

 private:
  ChildProcess() = default;
  void Reap(int wait_status);

  pid_t pid_ = -1;
  int exit_code_ = -1;
  base::UniqueFd input_, out_, err_;
};

// Runs a command to its end. Returns an error only if it could not be run or did not
// end; an exit code other than 0 is a result.
absl::StatusOr<CommandResult> RunForResult(const std::vector<std::string>& argv,
                                           absl::string_view input = "");

// The same for a command that must succeed: returns its standard output, or INTERNAL
// with its standard error.
absl::StatusOr<std::string> RunCommand(const std::vector<std::string>& argv,
                                       absl::string_view input = "");

// Runs `function` in a forked copy of this process and returns its answer. For changes
// that a process cannot undo (its user, its cgroup).
absl::StatusOr<std::string> RunInFork(const std::function<std::string()>& function);

inline constexpr uid_t kNobodyUid = 65534;

// Makes this process one of kNobodyUid, without privileges, for good.
absl::Status BecomeNobody();

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_COMMAND_H_
