// SPDX-License-Identifier: Apache-2.0
#include "controller/source_states.h"

#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace npg::controller::source_states_test {
namespace {

class SourceStatesTest : public ::testing::Test {
 protected:
  std::vector<std::pair<abi::Source, abi::SourceState>> written_;
  absl::Status answer_;
  SourceStates states_{[this](abi::Source source, const abi::SourceState& state) {
    written_.emplace_back(source, state);
    return answer_;
  }};
};

abi::SourceState HeardAt(absl::Time time) {
  abi::SourceState state;
  state.last_event = time;
  return state;
}

TEST_F(SourceStatesTest, AreWrittenWhenTheyDifferFromTheMap) {
  const absl::Time second = absl::FromUnixSeconds(100);
  EXPECT_TRUE(states_.Write(abi::Source::kFile, HeardAt(second)).ok());
  EXPECT_TRUE(states_.Write(abi::Source::kFile, HeardAt(second)).ok());
  EXPECT_TRUE(states_.Write(abi::Source::kFile, HeardAt(second + absl::Milliseconds(999))).ok());
  ASSERT_EQ(written_.size(), 1U);
  EXPECT_TRUE(states_.Write(abi::Source::kFile, HeardAt(second + absl::Seconds(1))).ok());
  EXPECT_TRUE(states_.Write(abi::Source::kNetfilter, HeardAt(second)).ok());
  ASSERT_EQ(written_.size(), 3U);
  EXPECT_EQ(written_[1].first, abi::Source::kFile);
  EXPECT_EQ(written_[1].second, HeardAt(second + absl::Seconds(1)));
  EXPECT_EQ(written_[2].first, abi::Source::kNetfilter);
}

TEST_F(SourceStatesTest, AreWrittenAgainAfterAnError) {
  answer_ = absl::UnavailableError("x");
  EXPECT_EQ(states_.Write(abi::Source::kFile, HeardAt(absl::FromUnixSeconds(100))), answer_);
  answer_ = absl::OkStatus();
  EXPECT_TRUE(states_.Write(abi::Source::kFile, HeardAt(absl::FromUnixSeconds(100))).ok());
  EXPECT_EQ(written_.size(), 2U);
}

}  // namespace
}  // namespace npg::controller::source_states_test
