// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_LOG_REPEATED_FAULT_H_
#define NODEPORT_GUARD_LOG_REPEATED_FAULT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace npg::log {

// Logs a repeated fault when it begins, when it ends, and every ten minutes while it lasts.
// One that comes and goes, or whose message changes, is logged a few times in ten minutes
// and then counted.
class RepeatedFault {
 public:
  static constexpr absl::Duration kSummary = absl::Minutes(10);
  static constexpr int kMaxLines = 6;  // between two summaries

  using Clock = std::function<absl::Time()>;

  explicit RepeatedFault(std::string what, Clock clock = absl::Now)
      : what_(std::move(what)), clock_(std::move(clock)) {}

  void Note(const absl::Status& status);

  // For an operation that is not retried periodically: logs that it still fails, if a
  // summary is due.
  void Remind();

 private:
  void Fails(const std::string& message, absl::Time now);
  void Works(absl::Time now);
  // True when one more line is allowed.
  bool Take();
  void Summarize(absl::Time now);

  std::string what_;
  Clock clock_;
  bool failing_ = false;
  std::string last_;           // the last message, logged or not
  absl::Time since_;           // when it began to fail
  uint64_t count_ = 0;         // failures since then
  absl::Time window_;          // since the last summary
  uint64_t window_count_ = 0;  // failures in it
  int lines_ = 0;              // logged in it
  uint64_t suppressed_ = 0;    // changes that were not logged
};

}  // namespace npg::log

#endif  // NODEPORT_GUARD_LOG_REPEATED_FAULT_H_
