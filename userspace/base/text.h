// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_TEXT_H_
#define NODEPORT_GUARD_BASE_TEXT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace npg::base {

// "2026-11-02T12:34:56Z".
std::string UtcTime(absl::Time time);

// "1 listener", "2 listeners", "3 processes": regular nouns only.
std::string Count(uint64_t count, absl::string_view noun);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_TEXT_H_
