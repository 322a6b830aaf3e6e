// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_UNTIL_DONE_H_
#define NODEPORT_GUARD_CONTROLLER_UNTIL_DONE_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "log/repeated_fault.h"

namespace npg::controller {

// A task that has to succeed once. Logs its failures, and its success after them, as a
// log::RepeatedFault does.
class UntilDone {
 public:
  UntilDone(std::string what, std::function<absl::Status()> task)
      : fault_(std::move(what)), task_(std::move(task)) {}

  // Runs the task, unless it has succeeded before.
  void Try() {
    if (done_) return;
    const absl::Status status = task_();
    done_ = status.ok();
    fault_.Note(status);
  }

 private:
  log::RepeatedFault fault_;
  std::function<absl::Status()> task_;
  bool done_ = false;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_UNTIL_DONE_H_
