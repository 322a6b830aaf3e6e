// SPDX-License-Identifier: Apache-2.0
#include "bench/fleet_day.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "absl/random/distributions.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/fleet_arithmetic.h"
#include "kubernetes/http_client.h"
#include "sources/kubernetes/reflector.h"
#include "testing/api_model.h"
#include "testing/api_query.h"
#include "testing/api_status.h"

namespace npg::bench {
namespace {

using ::npg::kubernetes::HttpEnd;
using ::npg::testing::ApiModel;
using ::npg::testing::ApiQuery;

constexpr absl::Duration kDay = absl::Hours(24);
constexpr absl::Duration kRoundTrip = absl::Milliseconds(5);
constexpr absl::Duration kBookmarks = absl::Minutes(1);
// defaultLowerBoundCapacity and eventFreshDuration of kube-apiserver.
constexpr size_t kCachedChanges = 100;
constexpr absl::Duration kCachedFor = absl::Seconds(75);
constexpr int kServicesOfAKind = 10;
constexpr uint16_t kFirstPort = 30000;

sources::Reflector::Options OptionsFor(const FleetFeatures& features) {
  sources::Reflector::Options options;
  // Without bookmarks, silence is no sign of a dead peer.
  if (!features.bookmarks) options.watch_idle = kDay;
  return options;
}

class Day {
 public:
  Day(const Churn& churn, const FleetFeatures& features, uint64_t seed)
      : churn_(churn),
        features_(features),
        random_(seed),
        changes_random_(~seed),
        reflector_(OptionsFor(features), random_) {
    for (int i = 0; i < kServicesOfAKind; ++i) {
      Change(true, i);
      Change(false, i);
    }
    next_node_port_ = now_ + Wait(churn.node_port_per_hour);
    next_other_ = now_ + Wait(churn.other_per_hour);
  }

  Messages Run() {
    while (now_ < end_) Exchange();
    return messages_;
  }

 private:
  absl::Duration Wait(double per_hour) {
    if (per_hour <= 0) return absl::InfiniteDuration();
    return absl::Hours(1) * absl::Exponential(changes_random_, per_hour);
  }

  void Change(bool node_port, int index) {
    const std::string type = node_port ? "NodePort" : "ClusterIP";
    const int64_t port = node_port ? kFirstPort + index : 0;
    model_.Put({.name = absl::StrCat(node_port ? "n" : "c", index),
                .type = type,
                .ports = {{.node_port = port}}});
    changes_.emplace_back(now_, model_.resource_version());
    while (changes_.size() > kCachedChanges && now_ - changes_.front().first > kCachedFor) {
      model_.Compact(changes_.front().second);
      changes_.pop_front();
    }
  }

  // The time of the next change.
  absl::Time NextChange() const { return std::min(next_node_port_, next_other_); }

  void MakeNextChange() {
    now_ = NextChange();
    const bool node_port = next_node_port_ <= next_other_;
    Change(node_port, count_++ % kServicesOfAKind);
    if (node_port) {
      next_node_port_ = now_ + Wait(churn_.node_port_per_hour);
    } else {
      next_other_ = now_ + Wait(churn_.other_per_hour);
    }
  }

  void AdvanceTo(absl::Time time) {
    while (NextChange() <= time) MakeNextChange();
    now_ = time;
  }

  // One request and its answer.
  void Exchange() {
    const sources::Reflector::Step step = reflector_.Next(now_);
    AdvanceTo(now_ + step.delay + kRoundTrip);
    ApiQuery query = testing::ParseTarget(step.request.target).query;
    if (!features_.selector) query.erase("fieldSelector");
    const bool list = testing::QueryFlag(query, "sendInitialEvents");
    ++(list ? messages_.lists : messages_.watches);
    ApiModel::WatchAnswer answer = model_.Watch(query);
    kubernetes::HttpHead head;
    head.status = answer.cursor == nullptr ? answer.refusal.code : 200;
    reflector_.OnHead(head, now_);
    if (answer.cursor == nullptr) {
      reflector_.OnBody(answer.refusal.body, now_);
      return reflector_.OnEnd({HttpEnd::Kind::kComplete, ""}, now_);
    }
    int64_t seconds = 0;
    const bool limited = absl::SimpleAtoi(testing::QueryValue(query, "timeoutSeconds"), &seconds);
    // The initial events are part of the list.
    if (!Feed(answer.cursor->Next(), /*count=*/!list)) return;
    Stream(*answer.cursor, limited ? now_ + absl::Seconds(seconds) : end_);
  }

  void Stream(testing::WatchCursor& cursor, absl::Time timeout) {
    absl::Time bookmark = features_.bookmarks ? now_ + kBookmarks : absl::InfiniteFuture();
    while (!cursor.ended() && now_ < end_) {
      const absl::Time at = std::min({NextChange(), bookmark, timeout, end_});
      if (at == NextChange()) {
        MakeNextChange();
        if (!Feed(cursor.Next(), true)) return;
        continue;
      }
      now_ = at;
      if (at == timeout || at == end_) break;
      if (!Feed(cursor.Bookmark(), true)) return;
      ++messages_.bookmarks;
      bookmark = now_ + kBookmarks;
    }
    reflector_.OnEnd({HttpEnd::Kind::kComplete, ""}, now_);
  }

  // False: the exchange has ended.
  bool Feed(const std::string& lines, bool count) {
    if (lines.empty()) return true;
    if (count) Count(lines);
    if (reflector_.OnBody(lines, now_)) return true;
    reflector_.OnEnd({HttpEnd::Kind::kStopped, ""}, now_);
    return false;
  }

  void Count(const std::string& lines) {
    for (size_t at = 0; at < lines.size();) {
      const size_t end = lines.find('\n', at);
      const std::string line = lines.substr(at, end - at);
      at = end + 1;
      if (absl::StrContains(line, R"("type":"BOOKMARK")") ||
          absl::StrContains(line, R"("type":"ERROR")")) {
        continue;
      }
      ++(absl::StrContains(line, R"("type":"NodePort")") ? messages_.events
                                                         : messages_.other_events);
    }
  }

  const Churn churn_;
  const FleetFeatures features_;
  std::mt19937_64 random_;
  std::mt19937_64 changes_random_;  // equal with and without a feature
  sources::Reflector reflector_;
  ApiModel model_;
  absl::Time now_ = absl::FromUnixSeconds(1'700'000'000);
  const absl::Time end_ = now_ + kDay;
  absl::Time next_node_port_ = absl::InfiniteFuture();
  absl::Time next_other_ = absl::InfiniteFuture();
  std::deque<std::pair<absl::Time, uint64_t>> changes_;  // in the watch cache
  int count_ = 0;
  Messages messages_;
};

}  // namespace

Messages SimulateDay(const Churn& churn, const FleetFeatures& features, uint64_t seed) {
  return Day(churn, features, seed).Run();
}

}  // namespace npg::bench
