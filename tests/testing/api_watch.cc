// SPDX-License-Identifier: Apache-2.0
//
// WATCH of ApiModel.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "testing/api_model.h"
#include "testing/api_query.h"
#include "testing/api_status.h"

namespace npg::testing {
namespace {

void AppendLine(absl::string_view type, const ApiObject& object, uint64_t version,
                std::string& to) {
  absl::StrAppend(&to, R"({"type":")", type, R"(","object":)");
  object.AppendTyped(version, to);
  to += "}\n";
}

std::string BookmarkLine(uint64_t version, absl::string_view annotations) {
  return absl::StrCat(
      R"({"type":"BOOKMARK","object":{"kind":"Service","apiVersion":"v1","metadata":)",
      R"({"resourceVersion":")", version, "\"", annotations,
      R"(},"spec":{},"status":{"loadBalancer":{}}}})", "\n");
}

}  // namespace

std::optional<ApiAnswer> ApiModel::CheckInitialEvents(const ApiQuery& query) const {
  const bool given = !QueryValue(query, "sendInitialEvents").empty();
  const std::string match = QueryValue(query, "resourceVersionMatch");
  if (options_.watch_list == WatchList::kIgnored) return std::nullopt;
  if (!given) {
    if (match.empty()) return std::nullopt;
    return InvalidOption(
        "resourceVersionMatch",
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
  }
  if (options_.watch_list == WatchList::kBadRequest) {
    return BadRequest("unknown parameter sendInitialEvents");
  }
  if (match != "NotOlderThan") {
    return InvalidOption("resourceVersionMatch",
                         "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
  }
  if (options_.watch_list == WatchList::kForbidden) {
    return InvalidOption("sendInitialEvents",
                         "sendInitialEvents is forbidden for watch unless the WatchList feature "
                         "gate is enabled");
  }
  return std::nullopt;
}

ApiModel::WatchAnswer ApiModel::Watch(const ApiQuery& query) const {
  Selector selector;
  if (auto refusal = ParseSelector(query, selector)) return {nullptr, *std::move(refusal)};
  if (auto refusal = CheckInitialEvents(query)) return {nullptr, *std::move(refusal)};
  const std::string text = QueryValue(query, "resourceVersion");
  uint64_t from = 0;
  if (!text.empty() && !absl::SimpleAtoi(text, &from)) {
    return {nullptr, BadRequest(absl::StrCat("invalid resource version ", JsonQuote(text)))};
  }
  std::unique_ptr<WatchCursor> cursor(new WatchCursor(*this));
  cursor->selector_ = std::move(selector);
  cursor->bookmarks_ = QueryFlag(query, "allowWatchBookmarks");
  const bool list =
      options_.watch_list == WatchList::kOffered && QueryFlag(query, "sendInitialEvents");
  // Without a version, and with "0", a watch begins with the current state.
  if (list || from == 0) {
    if (list && cursor->bookmarks_) cursor->initial_bookmark_ = std::max(from, version_);
    cursor->StartWith(state_);
    cursor->from_ = version_;
    return {std::move(cursor), {}};
  }
  if (from < compacted_) {
    ApiAnswer expired =
        Expired(absl::StrCat("too old resource version: ", from, " (", compacted_, ")"));
    if (options_.expired_as_code) return {nullptr, std::move(expired)};
    cursor->first_ = ErrorEvent(expired);
    cursor->expired_ = true;
    return {std::move(cursor), {}};
  }
  cursor->from_ = from;
  const auto next = std::partition_point(
      events_.begin(), events_.end(), [from](const Event& event) { return event.version <= from; });
  cursor->next_ = static_cast<size_t>(next - events_.begin());
  return {std::move(cursor), {}};
}

WatchCursor::WatchCursor(const ApiModel& model)
    : model_(model), restores_(model.restores_), next_(model.events_.size()), from_(0) {}

void WatchCursor::StartWith(const ApiModel::State& state) {
  for (const auto& [key, stored] : state) {
    if (selector_.Matches(*stored.object)) {
      AppendLine("ADDED", *stored.object, stored.version, first_);
    }
  }
}

bool WatchCursor::ended() const {
  return (expired_ && first_.empty()) || restores_ != model_.restores_;
}

std::string WatchCursor::Next() {
  if (restores_ != model_.restores_) return {};
  std::string lines = std::exchange(first_, {});
  if (expired_) return lines;
  const auto& events = model_.events_;
  for (;; ++next_) {
    // The initial bookmark is due when the requested version is reached, before any
    // newer event.
    const bool last = next_ == events.size();
    const uint64_t version = last ? model_.version_ + 1 : events[next_].version;
    if (initial_bookmark_.has_value() && version > *initial_bookmark_) {
      lines += BookmarkLine(*initial_bookmark_,
                            R"(,"annotations":{"k8s.io/initial-events-end":"true"})");
      initial_bookmark_.reset();
    }
    if (last) return lines;
    if (version > from_) AppendEvent(events[next_], lines);
  }
}

// The event of a filtered watch depends on whether the object matched before and
// matches now. An object that leaves the selection is DELETED; the event has the old
// object with the new version.
void WatchCursor::AppendEvent(const ApiModel::Event& event, std::string& to) const {
  const bool matched = event.old.has_value() && selector_.Matches(*event.old->object);
  const bool matches = event.object != nullptr && selector_.Matches(*event.object);
  if (matches) {
    AppendLine(matched ? "MODIFIED" : "ADDED", *event.object, event.version, to);
  } else if (matched) {
    AppendLine("DELETED", *event.old->object, event.version, to);
  }
}

std::string WatchCursor::Bookmark() {
  if (!bookmarks_ || initial_bookmark_.has_value() || !first_.empty() || expired_ || ended()) {
    return {};
  }
  if (model_.version_ < from_) return {};
  const auto& events = model_.events_;
  if (next_ == events.size()) return BookmarkLine(model_.version_, {});
  return BookmarkLine(std::max(from_, next_ == 0 ? 0 : events[next_ - 1].version), {});
}

}  // namespace npg::testing
