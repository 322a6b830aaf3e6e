// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_SHORT_DURATION_H_
#define NODEPORT_GUARD_BASE_SHORT_DURATION_H_

#include <string>

#include "absl/time/time.h"

namespace npg::base {

// A span in one unit: "12s", "5m", "3h", "8d". Spans below zero (clocks that
// were set) are "0s".
std::string ShortDuration(absl::Duration span);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_SHORT_DURATION_H_
