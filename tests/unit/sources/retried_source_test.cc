// SPDX-License-Identifier: Apache-2.0
#include "sources/retried_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "sources/source.h"
#include "testing/status_asserts.h"

namespace npg::sources::retried_source_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Reports one empty reading when it is followed.
class PlainSource : public Source {
 public:
  explicit PlainSource(absl::Status follow) : follow_(std::move(follow)) {}

  abi::Source id() const override { return abi::Source::kFile; }
  absl::StatusOr<Reading> Read() override { return Reading(); }
  absl::Status Follow(base::EventLoop& loop, Callback callback) override {
    if (!follow_.ok()) return follow_;
    loop.After(absl::ZeroDuration(), [callback = std::move(callback)] { callback(Reading()); });
    return absl::OkStatus();
  }
  SourceState State() const override {
    SourceState state;
    state.connected = true;
    state.errors[abi::SourceError::kRead] = 1;
    return state;
  }

 private:
  const absl::Status follow_;
};

class RetriedSourceTest : public ::testing::Test {
 protected:
  void SetUp() override { NPG_ASSERT_OK_AND_ASSIGN(loop_, base::EventLoop::Create()); }

  // A source that answers the attempts to create it with `answers`, and then with a source.
  std::unique_ptr<RetriedSource> Make(std::vector<absl::Status> answers) {
    answers_ = std::move(answers);
    RetriedSource::Options options;
    options.local = false;
    options.detail = "/a/kubeconfig";
    options.retry = absl::Milliseconds(1);
    return std::make_unique<RetriedSource>(
        abi::Source::kKubernetes,
        [this]() -> absl::StatusOr<std::unique_ptr<Source>> {
          const size_t attempt = attempts_++;
          if (attempt < answers_.size() && !answers_[attempt].ok()) return answers_[attempt];
          return std::make_unique<PlainSource>(std::exchange(follow_, absl::OkStatus()));
        },
        options);
  }

  // Follows the source until its first reading.
  void FollowToReading(RetriedSource& source) {
    NPG_ASSERT_OK(source.Follow(*loop_, [this](const absl::StatusOr<Reading>& reading) {
      reports_.emplace_back(reading.status().message());
      if (reading.ok()) loop_->Stop();
    }));
    EXPECT_THAT(reports_, IsEmpty()) << "only from the loop";
    NPG_ASSERT_OK(loop_->Run());
  }

  std::unique_ptr<base::EventLoop> loop_;
  std::vector<absl::Status> answers_;
  absl::Status follow_;  // what the first source answers when it is followed
  size_t attempts_ = 0;
  std::vector<std::string> reports_;  // "" for a reading
};

TEST_F(RetriedSourceTest, IsWhatItWillBe) {
  const auto source = Make({absl::NotFoundError("no file")});
  EXPECT_EQ(source->name(), "kubernetes");
  EXPECT_FALSE(source->local());
  EXPECT_EQ(attempts_, 0U);
  EXPECT_FALSE(source->State().connected);
  EXPECT_EQ(source->State().detail, "/a/kubeconfig");
}

TEST_F(RetriedSourceTest, ReportsEachReasonOnceUntilTheSourceIsThere) {
  const auto source = Make({absl::NotFoundError("no file"), absl::NotFoundError("no file"),
                            absl::InvalidArgumentError("half a file")});
  FollowToReading(*source);
  EXPECT_THAT(reports_, ElementsAre("no file", "half a file", ""));
  EXPECT_EQ(attempts_, 4U);
  const SourceState state = source->State();
  EXPECT_TRUE(state.connected);
  EXPECT_EQ(state.errors[abi::SourceError::kRead], 3U) << "one of the source's own";
  EXPECT_EQ(state.errors[abi::SourceError::kDecode], 1U);
}

TEST_F(RetriedSourceTest, ItsStateHasTheReason) {
  const auto source = Make({absl::NotFoundError("no file")});
  EXPECT_EQ(source->Read().status(), absl::NotFoundError("no file"));
  EXPECT_EQ(source->State().last_error, "no file");
  EXPECT_FALSE(source->State().connected);
  NPG_EXPECT_OK(source->Read());
  EXPECT_TRUE(source->State().connected);
}

TEST_F(RetriedSourceTest, FollowsTheSourceThatItRead) {
  const auto source = Make({});
  NPG_ASSERT_OK(source->Read());
  FollowToReading(*source);
  EXPECT_EQ(attempts_, 1U);
  EXPECT_THAT(reports_, ElementsAre(""));
}

TEST_F(RetriedSourceTest, ReplacesASourceThatCannotBeFollowed) {
  follow_ = absl::UnavailableError("no socket");
  const auto source = Make({});
  FollowToReading(*source);
  EXPECT_EQ(attempts_, 2U);
  EXPECT_THAT(reports_, ElementsAre("no socket", ""));
}

}  // namespace
}  // namespace npg::sources::retried_source_test
