// SPDX-License-Identifier: Apache-2.0
#include "serve/node_view.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "inspect/status.h"
#include "testing/status_asserts.h"

namespace npg::serve::node_view_test {
namespace {

inspect::Status Numbered(int number) {
  inspect::Status status;
  status.facts.controller = number;
  return status;
}

TEST(NodeView, ReadsAgainOnlyIfTheStatusIsTooOld) {
  int readings = 0;
  NodeView view([&]() -> absl::StatusOr<inspect::Status> { return Numbered(++readings); });
  NPG_ASSERT_OK_AND_ASSIGN(const auto first, view.Get(absl::InfiniteDuration()));
  NPG_ASSERT_OK_AND_ASSIGN(const auto same, view.Get(absl::InfiniteDuration()));
  EXPECT_EQ(first, same);
  NPG_ASSERT_OK_AND_ASSIGN(const auto anew, view.Get(absl::ZeroDuration()));
  EXPECT_EQ(anew->facts.controller, 2);
  EXPECT_EQ(first->facts.controller, 1);
}

TEST(NodeView, KeepsAnErrorAsLongAsAStatus) {
  int readings = 0;
  NodeView view([&]() -> absl::StatusOr<inspect::Status> {
    ++readings;
    return absl::NotFoundError("no guard is loaded");
  });
  EXPECT_TRUE(absl::IsNotFound(view.Get(absl::InfiniteDuration()).status()));
  EXPECT_TRUE(absl::IsNotFound(view.Get(absl::InfiniteDuration()).status()));
  EXPECT_EQ(readings, 1);
}

TEST(NodeView, ConcurrentCallsShareOneReading) {
  std::atomic<int> readings = 0;
  NodeView view([&]() -> absl::StatusOr<inspect::Status> { return Numbered(++readings); });
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(view.Get(absl::InfiniteDuration()).ok()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(readings, 1);
}

}  // namespace
}  // namespace npg::serve::node_view_test
