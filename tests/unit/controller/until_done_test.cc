// SPDX-License-Identifier: Apache-2.0
#include "controller/until_done.h"

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace npg::controller::until_done_test {
namespace {

TEST(UntilDone, TriesAgainUntilItSucceededOnce) {
  int runs = 0;
  absl::Status answer = absl::UnavailableError("busy");
  UntilDone task("finish", [&] {
    ++runs;
    return answer;
  });
  EXPECT_EQ(runs, 0) << "nothing before the first Try()";
  task.Try();
  task.Try();
  EXPECT_EQ(runs, 2);
  answer = absl::OkStatus();
  task.Try();
  EXPECT_EQ(runs, 3);
  answer = absl::UnavailableError("busy");
  task.Try();
  EXPECT_EQ(runs, 3) << "it succeeded before";
}

}  // namespace
}  // namespace npg::controller::until_done_test
