// SPDX-License-Identifier: Apache-2.0
#include "controller/standing_aside.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "controller/obstacle_search.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/fields.h"
#include "log/log.h"
#include "node/untracked_obstacles.h"

namespace npg::controller {
namespace {

// Between two looks whether a search for rules has ended.
constexpr absl::Duration kSearchLook = absl::Milliseconds(20);
// Searches are so far apart that they take 1 % of the time at most, within these limits.
constexpr int kSearchShare = 100;
constexpr absl::Duration kMinBetweenSearches = absl::Seconds(5);
constexpr absl::Duration kMaxBetweenSearches = absl::Minutes(1);

std::string AsideText(abi::TrafficBits traffic, const std::string& reason,
                      const std::string& in_the_way) {
  return absl::StrCat("the guard stands aside for ", abi::TrafficText(traffic), ": ", reason,
                      in_the_way.empty() ? "" : "; in the way: ", in_the_way);
}

std::string SearchFailedText(const absl::Status& status, bool known) {
  return absl::StrCat(known ? "; that is of an earlier search, the rules cannot be read now: "
                            : "; what is in the way is not known, the rules cannot be read: ",
                      status.message());
}

}  // namespace

StandingAside::StandingAside(base::EventLoop& loop, dataplane::BpfGuard& guard,
                             abi::TrafficBits traffic, bool adopted,
                             std::shared_ptr<node::LastObstacles> obstacles,
                             std::function<void()> changed)
    : loop_(loop),
      guard_(guard),
      traffic_(traffic),
      known_(adopted),
      obstacles_(std::move(obstacles)),
      changed_(std::move(changed)) {
  // Not ready before a probe has ended.
  if (traffic_ == 0) return;
  text_ = AsideText(
      traffic_, known_ ? "an earlier run left it so" : "its first self-probe has not ended", "");
}

void StandingAside::Note(const absl::Status& probed, abi::TrafficBits tested,
                         abi::TrafficBits broken) {
  const abi::TrafficBits before = known_ ? traffic_ : 0;
  const abi::TrafficBits wanted = AsideAfter(before, tested, broken);
  const absl::Status written = guard_.SetStandingAside(wanted);
  write_fault_.Note(written);
  if (!written.ok()) return;
  const bool changed = traffic_ != wanted;
  traffic_ = wanted;
  known_ = true;
  const bool proven = (wanted & ~tested) == 0;
  if (wanted == 0) {
    if (before != 0) LogResumed(before);
    reason_.clear();
    in_the_way_.clear();
    text_.clear();
    again_ = false;
    if (obstacles_) obstacles_->Set({});
  } else if (wanted != before || reason_.empty() || (proven && !proven_)) {
    reason_ = std::string(probed.message());
    if (broken == 0) {
      reason_ = absl::StrCat(
          "it did so before, and the self-probe cannot tell whether it still must: ", reason_);
    }
    proven_ = proven;
    Describe();
  } else if (!search_ && absl::Now() >= search_due_) {
    Search();
  }
  if (changed) changed_();
}

void StandingAside::LogResumed(abi::TrafficBits before) {
  log::Log(
      spdlog::level::info,
      absl::StrCat("the guard exempts ", abi::TrafficText(before), " again: the self-probe passed"),
      log::Fields().Add("event", "resumed").Add("traffic", abi::TrafficText(before)));
}

// The text is there at once, and the log waits for the rules. Those that were found for another
// reason, or other traffic, may have nothing to do with this.
void StandingAside::Describe() {
  in_the_way_.clear();
  if (obstacles_) obstacles_->Set({});
  text_ = AsideText(traffic_, reason_, "");
  logged_ = false;
  if (search_) {
    again_ = true;
  } else {
    Search();
  }
}

void StandingAside::Search() {
  searched_ = absl::Now();
  search_.emplace(rules_);
  Look();
}

void StandingAside::Look() {
  const std::optional<ObstacleSearch::Found> found = search_->Take(absl::ZeroDuration());
  if (!found) {
    loop_.After(kSearchLook, [this] { Look(); });
    return;
  }
  search_.reset();
  if (traffic_ == 0) return;
  if (again_) {
    again_ = false;
    Search();
    return;
  }
  const absl::Time now = absl::Now();
  search_due_ =
      now + std::clamp(kSearchShare * (now - searched_), kMinBetweenSearches, kMaxBetweenSearches);
  // Best effort: the probe has shown the fault, whether or not its cause can be named.
  std::string failed;
  if (found->ok()) {
    const std::vector<node::UntrackedObstacle> obstacles =
        node::OfFamilies(**found, abi::HasFamily(traffic_, true), abi::HasFamily(traffic_, false));
    std::vector<std::string> texts;
    texts.reserve(obstacles.size());
    for (const node::UntrackedObstacle& obstacle : obstacles) {
      texts.push_back(absl::StrCat(node::ToString(obstacle), "; add: ", obstacle.fix));
    }
    const std::string in_the_way = absl::StrJoin(texts, "; ");
    if (in_the_way != in_the_way_) logged_ = false;
    in_the_way_ = in_the_way;
    if (obstacles_) obstacles_->Set(obstacles);
  } else {
    failed = SearchFailedText(found->status(), /*known=*/!in_the_way_.empty());
  }
  const std::string text = absl::StrCat(AsideText(traffic_, reason_, in_the_way_), failed);
  if (logged_ && text == text_) return;
  text_ = text;
  // A search that fails now and then must not fill the log.
  if (!std::exchange(logged_, true)) {
    log::Log(spdlog::level::warn, text_,
             log::Fields()
                 .Add("event", "standing_aside")
                 .Add("traffic", abi::TrafficText(traffic_))
                 .Add("in_the_way", in_the_way_));
  }
  changed_();
}

}  // namespace npg::controller
