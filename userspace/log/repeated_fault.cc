// SPDX-License-Identifier: Apache-2.0
#include "log/repeated_fault.h"

#include <spdlog/common.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/text.h"
#include "log/fields.h"
#include "log/log.h"

namespace npg::log {
namespace {

std::string HourAndMinute(absl::Time time) {
  return absl::FormatTime("%H:%M", time, absl::UTCTimeZone());
}

}  // namespace

void RepeatedFault::Note(const absl::Status& status) {
  const absl::Time now = clock_();
  if (now - window_ >= kSummary) Summarize(now);
  if (!status.ok()) {
    Fails(std::string(status.message()), now);
  } else if (failing_) {
    Works(now);
  }
}

void RepeatedFault::Remind() {
  const absl::Time now = clock_();
  if (now - window_ >= kSummary) Summarize(now);
}

void RepeatedFault::Fails(const std::string& message, absl::Time now) {
  const bool fresh = !failing_;
  if (fresh) {
    failing_ = true;
    since_ = now;
    count_ = 0;
    if (lines_ == 0) window_ = now;
  }
  ++count_;
  ++window_count_;
  if (!fresh && message == last_) return;
  last_ = message;
  if (!Take()) return;
  Log(spdlog::level::err, absl::StrCat(what_, ": ", message),
      Fields().Add("fault", what_).Add("state", "failing"));
}

void RepeatedFault::Works(absl::Time now) {
  failing_ = false;
  if (!Take()) return;
  Log(spdlog::level::info, absl::StrCat(what_, ": works again"),
      Fields()
          .Add("fault", what_)
          .Add("state", "works")
          .Add("failures", count_)
          .Add("seconds", absl::ToInt64Seconds(now - since_)));
}

bool RepeatedFault::Take() {
  if (lines_ < kMaxLines) {
    ++lines_;
    return true;
  }
  ++suppressed_;
  return false;
}

// Logs the failures since the last summary.
void RepeatedFault::Summarize(absl::Time now) {
  Fields fields;
  fields.Add("fault", what_).Add("state", failing_ ? "failing" : "works");
  if (failing_) {
    Log(spdlog::level::err,
        absl::StrCat(what_, ": still failing, ", count_, count_ == 1 ? " time" : " times",
                     " since ", HourAndMinute(since_), ": ", last_),
        fields.Add("failures", count_).Add("since", base::UtcTime(since_)));
  } else if (suppressed_ > 0) {
    Log(spdlog::level::warn,
        absl::StrCat(what_, ": comes and goes, failed ", window_count_,
                     window_count_ == 1 ? " time" : " times", " since ", HourAndMinute(window_),
                     ", works now; last: ", last_),
        fields.Add("failures", window_count_));
  }
  window_ = now;
  window_count_ = 0;
  lines_ = 0;
  suppressed_ = 0;
}

}  // namespace npg::log
