// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_REPEATED_FAULT_H_
#define NODEPORT_GUARD_CONTROLLER_REPEATED_FAULT_H_

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "absl/status/status.h"

namespace npg::controller {

// The same complaint every ten seconds helps nobody: said when it is new, and
// when it is over.
class RepeatedFault {
 public:
  explicit RepeatedFault(std::string what) : what_(std::move(what)) {}

  void Note(const absl::Status& status) {
    const std::string message(status.message());
    if (!status.ok() && message != last_) spdlog::error("{}: {}", what_, message);
    if (status.ok() && !last_.empty()) spdlog::info("{}: works again", what_);
    last_ = status.ok() ? "" : message;
  }

 private:
  std::string what_;
  std::string last_;
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_REPEATED_FAULT_H_
