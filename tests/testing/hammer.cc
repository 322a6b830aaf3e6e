// SPDX-License-Identifier: Apache-2.0
#include "testing/hammer.h"

#include <cstddef>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "testing/client.h"
#include "testing/transport.h"

namespace npg::testing {

Hammer::Hammer(std::vector<Dial> dials) : dials_(std::move(dials)) {
  thread_ = std::thread([this] {
    // Pauses, so that connections in TIME_WAIT do not use up the ports.
    for (size_t i = 0; !stop_.WaitForNotificationWithTimeout(absl::Microseconds(500)); ++i) {
      const Dial& dial = dials_[i % dials_.size()];
      const std::string answer = Ask(dial);
      ++connects_;
      if (answer != "host") wrong_.push_back(absl::StrCat(ToString(dial), ": ", answer));
    }
  });
}

std::vector<std::string> Hammer::Stop() {
  if (!stop_.HasBeenNotified()) stop_.Notify();
  if (thread_.joinable()) thread_.join();
  return wrong_;
}

}  // namespace npg::testing
