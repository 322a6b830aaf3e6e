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
#include "core/bind_facts.h"
#include "sources/source.h"
#include "testing/status_asserts.h"

namespace npg::sources::retried_source_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr absl::Time kReadAt = absl::FromUnixSeconds(1000);

// Reports one empty reading when it is followed.
class PlainSource : public Source {
 public:
  PlainSource(absl::Status follow, size_t& hurried)
      : follow_(std::move(follow)), hurried_(hurried) {}

  abi::Source id() const override { return abi::Source::kFile; }
  absl::StatusOr<Reading> Read() override {
    read_ = true;
    return Reading();
  }
  void HurryFirstReading() override { ++hurried_; }
  absl::Status Follow(base::EventLoop& loop, Callback callback) override {
    if (!follow_.ok()) return follow_;
    loop.After(absl::ZeroDuration(), [callback = std::move(callback)] { callback(Reading()); });
    return absl::OkStatus();
  }
  const core::BindFacts* bind_facts() const override { return read_ ? &facts_ : nullptr; }
  SourceState State() const override {
    SourceState state;
    state.connected = true;
    state.detail = "/a/file";
    state.errors[abi::SourceError::kRead] = 1;
    if (read_) {
      state.last_reading = kReadAt;
      state.ports = 7;
    }
    return state;
  }

 private:
  const absl::Status follow_;
  size_t& hurried_;
  bool read_ = false;
  const core::BindFacts facts_ = {.refusable = {}, .shared = {}, .health_checks = {32000}};
};

class RetriedSourceTest : public ::testing::Test {
 protected:
  void SetUp() override { NPG_ASSERT_OK_AND_ASSIGN(loop_, base::EventLoop::Create()); }

  // A source that answers the attempts to follow it with `answers`, and then follows.
  std::unique_ptr<RetriedSource> Make(std::vector<absl::Status> answers) {
    answers_ = std::move(answers);
    return std::make_unique<RetriedSource>(
        [this] {
          const size_t one = made_++;
          return std::make_unique<PlainSource>(
              one < answers_.size() ? answers_[one] : absl::OkStatus(), hurried_);
        },
        absl::Milliseconds(1));
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
  size_t made_ = 0;
  size_t hurried_ = 0;                // sources
  std::vector<std::string> reports_;  // "" for a reading
};

TEST_F(RetriedSourceTest, IsWhatItFollows) {
  const auto source = Make({});
  EXPECT_EQ(source->name(), "file");
  EXPECT_TRUE(source->local());
  EXPECT_TRUE(source->State().connected);
  EXPECT_EQ(source->State().detail, "/a/file");
}

TEST_F(RetriedSourceTest, ReportsEachReasonOnceUntilItFollows) {
  const auto source =
      Make({absl::UnavailableError("no socket"), absl::UnavailableError("no socket"),
            absl::InvalidArgumentError("no group")});
  FollowToReading(*source);
  EXPECT_THAT(reports_, ElementsAre("no socket", "no group", ""));
  EXPECT_EQ(made_, 4U);
  const SourceState state = source->State();
  EXPECT_TRUE(state.connected);
  EXPECT_EQ(state.errors[abi::SourceError::kRead], 3U) << "one of the source's own";
  EXPECT_EQ(state.errors[abi::SourceError::kDecode], 1U);
}

TEST_F(RetriedSourceTest, ItsStateHasTheReason) {
  const auto source = Make({absl::UnavailableError("no socket")});
  NPG_ASSERT_OK(source->Follow(*loop_, [](const absl::StatusOr<Reading>& /*reading*/) {}));
  EXPECT_EQ(source->State().last_error, "no socket");
  EXPECT_EQ(source->State().detail, "/a/file");
  EXPECT_FALSE(source->State().connected);
}

// The guard still guards these ports.
TEST_F(RetriedSourceTest, ItsStateHasWhatWasReadBeforeItFailed) {
  const auto source = Make({absl::UnavailableError("no socket")});
  NPG_ASSERT_OK(source->Read());
  NPG_ASSERT_OK(source->Follow(*loop_, [](const absl::StatusOr<Reading>& /*reading*/) {}));
  const SourceState state = source->State();
  EXPECT_FALSE(state.connected);
  EXPECT_EQ(state.last_error, "no socket");
  EXPECT_EQ(state.last_reading, kReadAt);
  EXPECT_EQ(state.ports, 7U);
}

TEST_F(RetriedSourceTest, KeepsTheLastReasonWhenTheErrorIsOver) {
  const auto source =
      Make({absl::UnavailableError("no socket"), absl::UnavailableError("no room")});
  FollowToReading(*source);
  EXPECT_TRUE(source->State().connected);
  EXPECT_EQ(source->State().last_error, "no room");
}

TEST_F(RetriedSourceTest, FollowsTheSourceThatItRead) {
  const auto source = Make({});
  NPG_ASSERT_OK(source->Read());
  FollowToReading(*source);
  EXPECT_EQ(made_, 1U);
  EXPECT_THAT(reports_, ElementsAre(""));
}

TEST_F(RetriedSourceTest, HasTheFactsOfTheSourceThatItRead) {
  const auto source = Make({});
  EXPECT_EQ(source->bind_facts(), nullptr);
  NPG_ASSERT_OK(source->Read());
  ASSERT_NE(source->bind_facts(), nullptr);
  EXPECT_THAT(source->bind_facts()->health_checks, ElementsAre(32000));
}

// The ports that were read are still in use.
TEST_F(RetriedSourceTest, KeepsTheFactsThatWereReadBeforeItFailed) {
  const auto source = Make({absl::UnavailableError("no socket")});
  NPG_ASSERT_OK(source->Read());
  FollowToReading(*source);
  EXPECT_EQ(made_, 2U);
  ASSERT_NE(source->bind_facts(), nullptr);
  EXPECT_THAT(source->bind_facts()->health_checks, ElementsAre(32000));
}

TEST_F(RetriedSourceTest, HurriesEachSourceThatItMakes) {
  const auto source = Make({absl::UnavailableError("no socket")});
  source->HurryFirstReading();
  EXPECT_EQ(hurried_, 1U);
  FollowToReading(*source);
  EXPECT_EQ(hurried_, 2U);
}

}  // namespace
}  // namespace npg::sources::retried_source_test
