// SPDX-License-Identifier: Apache-2.0
//
// When the reflector retries after a failure.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "abi/names.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "kubernetes/http_client.h"
#include "testing/api_status.h"
#include "unit/sources/kubernetes_reflector_dialogue.h"

namespace npg::sources::kubernetes_reflector_backoff_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The delays of a source whose every request fails: the n-th of each of many
// seeds.
std::vector<absl::Duration> Delays(int n) {
  std::vector<absl::Duration> delays;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Dialogue dialogue({}, seed);
    for (int i = 0; i < n; ++i) {
      dialogue.Ask();
      dialogue.End(kubernetes::HttpEnd::Kind::kConnect, "refused");
    }
    dialogue.Ask();
    delays.push_back(dialogue.step().delay);
  }
  return delays;
}

TEST(ReflectorBackoffTest, SpreadsFirstListsAndDoublesTheBoundOfRetries) {
  // The delays of the first list, the first retry, the second ...
  const std::vector<int> bounds = {5, 1, 2, 4, 8, 16, 32, 60, 60, 60};
  for (size_t n = 0; n < bounds.size(); ++n) {
    SCOPED_TRACE(absl::StrCat("after ", n, " failures"));
    const absl::Duration bound = absl::Seconds(bounds[n]);
    std::vector<absl::Duration> delays = Delays(static_cast<int>(n));
    std::sort(delays.begin(), delays.end());
    EXPECT_GE(delays.front(), absl::ZeroDuration());
    EXPECT_LE(delays.back(), bound);
    EXPECT_LT(delays.front(), 0.05 * bound);
    EXPECT_GT(delays.back(), 0.95 * bound);
    EXPECT_LT(delays[delays.size() / 2], 0.65 * bound);
    EXPECT_GT(delays[delays.size() / 2], 0.35 * bound);
  }
}

// The longest next delay for many seeds, after many failures and `then`.
template <typename Then>
absl::Duration LongestDelayAfter(Then then) {
  absl::Duration longest;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Dialogue dialogue({}, seed);
    for (int i = 0; i < 10; ++i) {
      dialogue.Ask();
      dialogue.End(kubernetes::HttpEnd::Kind::kConnect, "refused");
    }
    then(dialogue);
    dialogue.Ask();
    longest = std::max(longest, dialogue.step().delay);
  }
  return longest;
}

TEST(ReflectorBackoffTest, OnlyAnEventOrABookmarkResetsIt) {
  const auto cut = [](Dialogue& dialogue) { dialogue.End(kubernetes::HttpEnd::Kind::kCut, "cut"); };
  EXPECT_GT(LongestDelayAfter([&](Dialogue& dialogue) {
              dialogue.SyncByWatchList();
              cut(dialogue);
            }),
            absl::Seconds(30))
      << "a list does not reset it";
  EXPECT_GT(LongestDelayAfter([&](Dialogue& dialogue) {
              dialogue.SyncAndWatch();
              dialogue.Head(200);
              cut(dialogue);
            }),
            absl::Seconds(30))
      << "an accepted watch does not reset it";
  for (const std::string& line : {Bookmark(11), Event("ADDED", Object("dns", 30053, 11))}) {
    EXPECT_LE(LongestDelayAfter([&](Dialogue& dialogue) {
                dialogue.SyncByWatchList();
                dialogue.Body(line);
                cut(dialogue);
              }),
              absl::Seconds(1));
  }
}

// The server was away, which raised the bound of retries to a minute, and its history begins
// after the known version. NodePorts that are new since then are unknown until the list.
TEST(ReflectorBackoffTest, ListsWithinFiveSecondsAfterAnExpiredVersion) {
  const testing::ApiAnswer as_code = testing::Expired("too old resource version: 10 (12)");
  const testing::ApiAnswer in_stream = {.code = 200, .body = testing::ErrorEvent(as_code)};
  for (const testing::ApiAnswer& answer : {as_code, in_stream}) {
    SCOPED_TRACE(answer.code);
    std::vector<absl::Duration> delays;
    for (uint64_t seed = 0; seed < 300; ++seed) {
      Dialogue dialogue({}, seed);
      dialogue.SyncAndWatch();
      for (int i = 0; i < 10; ++i) {
        dialogue.End(kubernetes::HttpEnd::Kind::kConnect, "refused");
        dialogue.Ask();
      }
      dialogue.Answer(answer);
      EXPECT_THAT(dialogue.Ask(), HasSubstr("sendInitialEvents"));
      delays.push_back(dialogue.step().delay);
    }
    std::sort(delays.begin(), delays.end());
    EXPECT_LE(delays.back(), absl::Seconds(5));
    // Spread over all of that time: it happens to all nodes at once.
    EXPECT_LT(delays.front(), absl::Milliseconds(250));
    EXPECT_GT(delays.back(), absl::Milliseconds(4750));
    EXPECT_LT(delays[delays.size() / 2], absl::Milliseconds(3250));
    EXPECT_GT(delays[delays.size() / 2], absl::Milliseconds(1750));
  }
}

// A server that lists well and then expires every watch is listed ever less often.
TEST(ReflectorBackoffTest, DoublesTheBoundOfListsAfterExpiredVersions) {
  const std::vector<int> bounds = {5, 10, 20, 40, 60, 60};
  std::vector<absl::Duration> longest(bounds.size());
  const auto expire = [](Dialogue& dialogue) {
    dialogue.Body(testing::ErrorEvent(testing::Expired("too old resource version: 10 (12)")));
    dialogue.End(kubernetes::HttpEnd::Kind::kStopped);
    dialogue.SyncByWatchList();
    return dialogue.step().delay;
  };
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Dialogue dialogue({}, seed);
    dialogue.SyncByWatchList();
    for (absl::Duration& delay : longest) delay = std::max(delay, expire(dialogue));
    dialogue.Body(Bookmark(10));
    EXPECT_LE(expire(dialogue), absl::Seconds(5)) << "a bookmark resets it";
  }
  for (size_t n = 0; n < bounds.size(); ++n) {
    SCOPED_TRACE(absl::StrCat("after ", n, " lists"));
    EXPECT_LE(longest[n], absl::Seconds(bounds[n]));
    EXPECT_GT(longest[n], 0.95 * absl::Seconds(bounds[n]));
  }
}

struct RetryCase {
  std::string name;
  int status;
  std::optional<absl::Duration> header;
  std::string details;
  absl::Duration least;
};

class ReflectorRetryAfter : public ::testing::TestWithParam<RetryCase> {};

TEST_P(ReflectorRetryAfter, IsHonouredWithJitterAndCapped) {
  const RetryCase& param = GetParam();
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Dialogue dialogue({}, seed);
    dialogue.Ask();
    dialogue.Answer(param.status, testing::StatusJson(param.status, "R", "m", param.details),
                    param.header);
    dialogue.Ask();
    EXPECT_GE(dialogue.step().delay, param.least);
    EXPECT_LE(dialogue.step().delay, std::max(absl::Seconds(1), 1.25 * param.least));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Answers, ReflectorRetryAfter,
    ::testing::Values(RetryCase{"Header429", 429, absl::Seconds(7), "", absl::Seconds(7)},
                      RetryCase{"Header503", 503, absl::Seconds(30), "", absl::Seconds(30)},
                      RetryCase{"Details429", 429, std::nullopt, R"({"retryAfterSeconds":9})",
                                absl::Seconds(9)},
                      RetryCase{"HeaderBeforeDetails", 429, absl::Seconds(3),
                                R"({"retryAfterSeconds":90})", absl::Seconds(3)},
                      RetryCase{"TooLong", 429, absl::Hours(100), "", absl::Minutes(10)},
                      RetryCase{"TooLongInDetails", 503, std::nullopt,
                                R"({"retryAfterSeconds":2147483647})", absl::Minutes(10)},
                      RetryCase{"Zero", 429, absl::ZeroDuration(), "", absl::ZeroDuration()},
                      RetryCase{"Negative", 429, std::nullopt, R"({"retryAfterSeconds":-5})",
                                absl::ZeroDuration()}),
    [](const auto& parameters) { return parameters.param.name; });

TEST(ReflectorBackoffTest, RetryAfterOfAnErrorEventIsHonoured) {
  Dialogue dialogue;
  dialogue.SyncAndWatch();
  dialogue.Answer(200, testing::ErrorEvent(testing::StatusAnswer(429, "TooManyRequests", "m",
                                                                 R"({"retryAfterSeconds":20})")));
  EXPECT_EQ(dialogue.Errors(abi::SourceError::kThrottled), 1U);
  EXPECT_THAT(dialogue.Ask(), Not(HasSubstr("sendInitialEvents")));
  EXPECT_GE(dialogue.step().delay, absl::Seconds(20));
}

}  // namespace
}  // namespace npg::sources::kubernetes_reflector_backoff_test
