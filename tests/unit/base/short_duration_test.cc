// SPDX-License-Identifier: Apache-2.0
#include "base/short_duration.h"

#include <gtest/gtest.h>

#include "absl/time/time.h"

namespace npg::base::short_duration_test {
namespace {

TEST(ShortDuration, InOneUnit) {
  EXPECT_EQ(ShortDuration(absl::Seconds(-5)), "0s");
  EXPECT_EQ(ShortDuration(absl::Seconds(59)), "59s");
  EXPECT_EQ(ShortDuration(absl::Seconds(60)), "1m");
  EXPECT_EQ(ShortDuration(absl::Minutes(59)), "59m");
  EXPECT_EQ(ShortDuration(absl::Hours(47)), "47h");
  EXPECT_EQ(ShortDuration(absl::Hours(48)), "2d");
  EXPECT_EQ(ShortDuration(absl::Hours(24 * 365)), "365d");
}

}  // namespace
}  // namespace npg::base::short_duration_test
