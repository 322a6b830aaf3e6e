// SPDX-License-Identifier: Apache-2.0
#include "base/short_duration.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace npg::base {

std::string ShortDuration(absl::Duration span) {
  if (span < absl::ZeroDuration()) span = absl::ZeroDuration();
  if (span < absl::Minutes(1)) return absl::StrCat(absl::ToInt64Seconds(span), "s");
  if (span < absl::Hours(1)) return absl::StrCat(absl::ToInt64Minutes(span), "m");
  if (span < absl::Hours(48)) return absl::StrCat(absl::ToInt64Hours(span), "h");
  return absl::StrCat(absl::ToInt64Hours(span) / 24, "d");
}

}  // namespace npg::base
