// SPDX-License-Identifier: Apache-2.0
#include "controller/paced_task.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_loop.h"

namespace npg::controller::paced_task_test {
namespace {

class PacedTaskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<base::EventLoop>> loop = base::EventLoop::Create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }

  void Make(PacedTask::Pace pace, absl::Duration length = absl::ZeroDuration()) {
    task_.emplace(*loop_, pace, [this, length] {
      begun_.push_back(absl::Now());
      absl::SleepFor(length);
      ended_.push_back(absl::Now());
      if (then_) then_();
    });
  }
  void Run(absl::Duration time) {
    loop_->After(time, [this] { loop_->Stop(); });
    ASSERT_TRUE(loop_->Run().ok());
  }

  std::unique_ptr<base::EventLoop> loop_;
  std::optional<PacedTask> task_;
  std::vector<absl::Time> begun_, ended_;
  std::function<void()> then_;  // after each run
};

TEST_F(PacedTaskTest, RunsOnceForABurst) {
  Make({absl::Milliseconds(20), absl::Seconds(1)});
  for (int i = 0; i < 100; ++i) task_->Soon();
  EXPECT_TRUE(begun_.empty()) << "not before the loop runs";
  Run(absl::Milliseconds(200));
  EXPECT_EQ(begun_.size(), 1U);
}

TEST_F(PacedTaskTest, KeepsTheLeastDistance) {
  Make({absl::Milliseconds(60), absl::Seconds(1)});
  task_->Now();
  task_->Soon();
  then_ = [this] { loop_->Stop(); };
  ASSERT_TRUE(loop_->Run().ok());
  ASSERT_EQ(begun_.size(), 2U);
  EXPECT_GE(begun_[1] - ended_[0], absl::Milliseconds(55));
}

TEST_F(PacedTaskTest, WaitsLongerThanItTakes) {
  Make({absl::Milliseconds(1), absl::Seconds(10)}, absl::Milliseconds(20));
  task_->Now();
  task_->Soon();
  then_ = [this] { loop_->Stop(); };
  ASSERT_TRUE(loop_->Run().ok());
  ASSERT_EQ(begun_.size(), 2U);
  EXPECT_GE(begun_[1] - ended_[0], absl::Milliseconds(190));
}

TEST_F(PacedTaskTest, WaitsNoLongerThanTheMost) {
  Make({absl::Milliseconds(1), absl::Milliseconds(30)}, absl::Milliseconds(400));
  task_->Now();
  task_->Soon();
  then_ = [this] { loop_->Stop(); };
  ASSERT_TRUE(loop_->Run().ok());
  ASSERT_EQ(begun_.size(), 2U);
  // Ten times as long would be four seconds.
  EXPECT_LT(begun_[1] - ended_[0], absl::Seconds(3));
}

TEST_F(PacedTaskTest, NowTakesThePlaceOfSoon) {
  Make({absl::Milliseconds(1), absl::Seconds(1)});
  task_->Soon();
  task_->Now();
  Run(absl::Milliseconds(200));
  EXPECT_EQ(begun_.size(), 1U);
}

TEST_F(PacedTaskTest, RunsNoMoreOnceDestroyed) {
  Make({absl::Milliseconds(1), absl::Seconds(1)});
  task_->Soon();
  task_.reset();
  Run(absl::Milliseconds(100));
  EXPECT_TRUE(begun_.empty());
}

}  // namespace
}  // namespace npg::controller::paced_task_test
