// SPDX-License-Identifier: Apache-2.0
#include "bench/fleet_bench.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "bench/figure.h"
#include "bench/fleet_costs.h"
#include "bench/measure.h"
#include "core/port.h"
#include "kubernetes/http_client.h"
#include "sources/kubernetes/reflector.h"
#include "testing/api_model.h"
#include "testing/api_query.h"
#include "testing/api_status.h"

namespace npg::bench {
namespace {

using ::npg::kubernetes::HttpEnd;
using ::npg::testing::ApiAnswer;
using ::npg::testing::ApiModel;
using ::npg::testing::ApiQuery;
using ::npg::testing::WatchCursor;

constexpr size_t kFleetNodes = 10000;
constexpr size_t kOtherFleets[] = {1000, 5000, 15000};
constexpr uint64_t kOneSeed = 1;
constexpr int kFleetServices = 5;
constexpr uint16_t kFleetPort = 31999;  // created when the server returns
constexpr absl::Duration kRoundTrip = absl::Milliseconds(5);
constexpr absl::Duration kBookmarks = absl::Minutes(1);
// All nodes have listed and watch by then.
constexpr absl::Duration kFleetStart = absl::Minutes(2);
constexpr absl::Duration kFleetObserved = absl::Minutes(5);  // after the return
// A retry within a minute, a list within five seconds after it, and the round trips.
constexpr double kStaleGoalSeconds = 66;

struct Outage {
  absl::Duration length;
  // Lists that the server answers in one second after its return; it refuses more with 429.
  std::optional<int> lists_each_second;

  std::string Title() const {
    return absl::StrCat(
        absl::FormatDuration(length), " away",
        lists_each_second ? absl::StrCat(", ", *lists_each_second, " lists/s at most") : "");
  }
};

struct FleetNode {
  FleetNode(uint64_t seed, const sources::Reflector::Options& options)
      : random(seed), reflector(options, random) {}

  std::mt19937_64 random;
  sources::Reflector reflector;
  std::string target;                   // of the next request
  std::unique_ptr<WatchCursor> cursor;  // of an open watch
  uint64_t watches = 0;                 // so far: what is due for an earlier one is void
  std::optional<absl::Time> knows;      // since when it has kFleetPort
};

struct SecondOfRequests {
  int refused = 0;  // connections, while the server is away
  int lists = 0;
  int throttled = 0;  // of the lists
  int watches = 0;
};

struct Fleet {
  size_t nodes = kFleetNodes;
  bool jitter = true;  // false: all nodes draw the same numbers, and so wait equally long

  // The fleet that has a picture has no title.
  std::string Title() const {
    std::string title;
    if (nodes != kFleetNodes || !jitter) title = absl::StrCat(", ", nodes, " nodes");
    if (!jitter) title += " without jitter";
    return title;
  }
};

class FleetSimulation {
 public:
  FleetSimulation(const Outage& outage, const Fleet& fleet) : outage_(outage), fleet_(fleet) {
    for (int i = 0; i < kFleetServices; ++i) {
      model_.Put({.name = absl::StrCat("s", i), .ports = {{.node_port = 30000 + i}}});
    }
    for (size_t i = 0; i < fleet.nodes; ++i) {
      nodes_.push_back(std::make_unique<FleetNode>(fleet.jitter ? i + 1 : kOneSeed,
                                                   sources::Reflector::Options()));
    }
  }

  // CANCELLED if `stop` returns true.
  absl::Status Run(absl::FunctionRef<bool()> stop) {
    for (size_t i = 0; i < nodes_.size(); ++i) Ask(i);
    const absl::Time down = start_ + kFleetStart;
    returned_ = down + outage_.length;
    bool went = false;
    bool back = false;
    uint64_t count = 0;
    while (!due_.empty() && due_.top().at < returned_ + kFleetObserved) {
      if ((++count & 0xfffU) == 0 && stop()) return absl::CancelledError("interrupted");
      const Due next = due_.top();
      if (!went && next.at >= down) {
        went = true;
        now_ = down;
        GoAway();
        continue;
      }
      if (!back && next.at >= returned_) {
        back = true;
        now_ = returned_;
        Return();
      }
      due_.pop();
      now_ = next.at;
      Do(next);
    }
    return absl::OkStatus();
  }

  std::vector<Figure> Figures() const {
    const std::string group = outage_.Title() + fleet_.Title();
    std::vector<double> stale;
    size_t unknown = 0;
    for (const auto& node : nodes_) {
      if (node->knows) {
        stale.push_back(absl::ToDoubleSeconds(*node->knows - returned_));
      } else {
        ++unknown;
      }
    }
    std::vector<Figure> figures;
    figures.push_back({group, "nodes that never knew", "nodes", static_cast<double>(unknown), 0.0});
    if (!stale.empty()) {
      figures.push_back({group, "stale, median", "s", Quantile(stale, 0.5)});
      figures.push_back({group, "stale, 90 %", "s", Quantile(stale, 0.9)});
      figures.push_back({group, "stale, 99 %", "s", Quantile(stale, 0.99)});
      figures.push_back({group, "stale, longest", "s", Quantile(stale, 1), LongestGoal()});
    }
    const SecondOfRequests peak = Peak();
    figures.push_back(
        {group, "connections while away, peak", "/s", static_cast<double>(peak.refused)});
    figures.push_back({group, "lists, peak", "/s", static_cast<double>(peak.lists)});
    figures.push_back({group, "lists refused, peak", "/s", static_cast<double>(peak.throttled)});
    figures.push_back({group, "watches, peak", "/s", static_cast<double>(peak.watches)});
    // The course after the return, for a plot.
    if (!fleet_.Title().empty()) return figures;
    for (const auto& [second, requests] : seconds_) {
      if (second < 0) continue;
      const std::string what = absl::StrCat("second ", second, ", ");
      figures.push_back({group, what + "lists", "/s", static_cast<double>(requests.lists)});
      figures.push_back({group, what + "watches", "/s", static_cast<double>(requests.watches)});
      if (outage_.lists_each_second) {
        figures.push_back(
            {group, what + "lists refused", "/s", static_cast<double>(requests.throttled)});
      }
    }
    return figures;
  }

  // The busiest second of each kind of request.
  SecondOfRequests Peak() const {
    SecondOfRequests peak;
    for (const auto& [second, requests] : seconds_) {
      // The start of all nodes is not the subject.
      if (second < -absl::ToInt64Seconds(outage_.length)) continue;
      peak.refused = std::max(peak.refused, requests.refused);
      peak.lists = std::max(peak.lists, requests.lists);
      peak.throttled = std::max(peak.throttled, requests.throttled);
      peak.watches = std::max(peak.watches, requests.watches);
    }
    return peak;
  }

 private:
  enum class Work { kRequest, kWatchEnd, kBookmark };
  struct Due {
    absl::Time at;
    uint64_t order = 0;  // equal times: as scheduled
    size_t node = 0;
    Work work = Work::kRequest;
    uint64_t watch = 0;

    bool operator<(const Due& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };

  // A server that throttles is slower on purpose.
  std::optional<double> LongestGoal() const {
    return outage_.lists_each_second || !fleet_.jitter ? std::nullopt
                                                       : std::optional<double>(kStaleGoalSeconds);
  }

  void Schedule(absl::Duration delay, size_t node, Work work, uint64_t watch = 0) {
    due_.push({now_ + delay, ++order_, node, work, watch});
  }

  SecondOfRequests& ThisSecond() {
    const absl::Duration since = now_ - returned_;
    return seconds_[absl::ToInt64Seconds(absl::Floor(since, absl::Seconds(1)))];
  }

  void Ask(size_t index) {
    FleetNode& node = *nodes_[index];
    const sources::Reflector::Step step = node.reflector.Next(now_);
    node.target = step.request.target;
    Schedule(step.delay + kRoundTrip, index, Work::kRequest);
  }

  void End(size_t index, HttpEnd::Kind kind, const std::string& message = "") {
    FleetNode& node = *nodes_[index];
    node.cursor.reset();
    node.reflector.OnEnd({kind, message}, now_);
    Ask(index);
  }

  // False: the exchange has ended.
  bool Feed(size_t index, const std::string& bytes) {
    if (bytes.empty()) return true;
    FleetNode& node = *nodes_[index];
    const bool more = node.reflector.OnBody(bytes, now_);
    if (!node.knows &&
        node.reflector.store().reading()->ports.contains({kFleetPort, core::Protocol::kTcp})) {
      node.knows = now_;
    }
    if (!more) End(index, HttpEnd::Kind::kStopped);
    return more;
  }

  void Answer(size_t index, const ApiAnswer& answer) {
    kubernetes::HttpHead head;
    head.status = answer.code;
    if (answer.retry_after > 0) head.retry_after = absl::Seconds(answer.retry_after);
    nodes_[index]->reflector.OnHead(head, now_);
    if (Feed(index, answer.body)) End(index, HttpEnd::Kind::kComplete);
  }

  void GoAway() {
    away_ = true;
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i]->cursor != nullptr) End(i, HttpEnd::Kind::kCut, "cut");
    }
  }

  // Its history begins anew, as that of a server whose cache is empty.
  void Return() {
    away_ = false;
    model_.Put({.name = "new", .ports = {{.node_port = kFleetPort}}});
    model_.AdvanceTo(model_.resource_version() + 1);
    model_.Compact(model_.resource_version());
  }

  void Do(const Due& due) {
    FleetNode& node = *nodes_[due.node];
    if (due.work == Work::kRequest) return Request(due.node);
    if (node.cursor == nullptr || node.watches != due.watch) return;
    if (due.work == Work::kWatchEnd) return End(due.node, HttpEnd::Kind::kComplete);
    if (Feed(due.node, node.cursor->Bookmark())) {
      Schedule(kBookmarks, due.node, Work::kBookmark, due.watch);
    }
  }

  void Request(size_t index) {
    SecondOfRequests& second = ThisSecond();
    if (away_) {
      ++second.refused;
      return End(index, HttpEnd::Kind::kConnect, "refused");
    }
    const testing::ApiTarget target = testing::ParseTarget(nodes_[index]->target);
    const bool watch = testing::QueryFlag(target.query, "watch");
    const bool list = !watch || testing::QueryFlag(target.query, "sendInitialEvents");
    ++(list ? second.lists : second.watches);
    if (list && outage_.lists_each_second && now_ >= returned_ &&
        second.lists - second.throttled > *outage_.lists_each_second) {
      ++second.throttled;
      ApiAnswer answer = testing::StatusAnswer(429, "TooManyRequests", "Too many requests");
      answer.retry_after = 1;
      return Answer(index, answer);
    }
    if (watch) return Watch(index, target.query);
    Answer(index, model_.List(target.query));
  }

  void Watch(size_t index, const ApiQuery& query) {
    FleetNode& node = *nodes_[index];
    ApiModel::WatchAnswer answer = model_.Watch(query);
    if (answer.cursor == nullptr) return Answer(index, answer.refusal);
    kubernetes::HttpHead head;
    head.status = 200;
    node.reflector.OnHead(head, now_);
    node.cursor = std::move(answer.cursor);
    const uint64_t number = ++node.watches;
    const std::string first = node.cursor->Next();
    if (!Feed(index, first)) return;
    if (node.cursor->ended()) return End(index, HttpEnd::Kind::kComplete);
    int64_t seconds = 0;
    if (absl::SimpleAtoi(testing::QueryValue(query, "timeoutSeconds"), &seconds)) {
      Schedule(absl::Seconds(seconds), index, Work::kWatchEnd, number);
    }
    Schedule(kBookmarks, index, Work::kBookmark, number);
  }

  const Outage outage_;
  const Fleet fleet_;
  const absl::Time start_ = absl::FromUnixSeconds(1'700'000'000);
  absl::Time now_ = start_;
  absl::Time returned_;  // set by Run()
  bool away_ = false;
  ApiModel model_;
  std::vector<std::unique_ptr<FleetNode>> nodes_;  // their cursors refer to the model
  std::priority_queue<Due> due_;
  uint64_t order_ = 0;
  std::map<int64_t, SecondOfRequests> seconds_;  // from the return
};

}  // namespace

absl::StatusOr<std::vector<Figure>> FleetFigures(absl::FunctionRef<bool()> stop) {
  const Outage minute = {absl::Minutes(1), std::nullopt};
  std::vector<std::pair<Outage, Fleet>> runs = {
      {{absl::Seconds(5), std::nullopt}, {}},
      {minute, {}},
      {{absl::Minutes(10), std::nullopt}, {}},
      {{absl::Minutes(1), 100}, {}},
  };
  for (const size_t nodes : kOtherFleets) runs.emplace_back(minute, Fleet{nodes});
  for (const size_t nodes : {kOtherFleets[0], kOtherFleets[1], kFleetNodes, kOtherFleets[2]}) {
    runs.emplace_back(minute, Fleet{nodes, false});
  }
  std::vector<Figure> figures;
  std::vector<Storm> storms;
  for (const auto& [outage, fleet] : runs) {
    FleetSimulation simulation(outage, fleet);
    if (const absl::Status status = simulation.Run(stop); !status.ok()) return status;
    std::vector<Figure> more = simulation.Figures();
    std::move(more.begin(), more.end(), std::back_inserter(figures));
    if (outage.length == minute.length && !outage.lists_each_second) {
      storms.push_back({fleet.nodes, fleet.jitter, static_cast<double>(simulation.Peak().lists)});
    }
  }
  absl::StatusOr<std::vector<Figure>> costs = FleetCosts(storms, stop);
  if (!costs.ok()) return costs.status();
  std::move(costs->begin(), costs->end(), std::back_inserter(figures));
  return figures;
}

}  // namespace npg::bench
