// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace npg::base {

std::string UtcTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string Count(uint64_t count, absl::string_view noun) {
  const char* plural = absl::EndsWith(noun, "s") ? "es" : "s";
  return absl::StrCat(count, " ", noun, count == 1 ? "" : plural);
}

}  // namespace npg::base
