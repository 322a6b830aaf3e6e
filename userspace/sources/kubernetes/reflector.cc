// SPDX-License-Identifier: Apache-2.0
#include "sources/kubernetes/reflector.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "abi/names.h"
#include "absl/random/bit_gen_ref.h"
#include "absl/random/distributions.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kubernetes/api_status.h"
#include "kubernetes/http_client.h"
#include "sources/kubernetes/list_decoder.h"
#include "sources/kubernetes/service_store.h"
#include "sources/kubernetes/watch_decoder.h"
#include "sources/service_decoder.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

constexpr absl::string_view kServices = "/api/v1/services";
// "spec.type!=ClusterIP", escaped.
constexpr absl::string_view kSelector = "&fieldSelector=spec.type%21%3DClusterIP";
// A watch that ends sooner, without an event, counts as refused.
constexpr absl::Duration kShortWatch = absl::Seconds(1);
// After this many watches that became silent without a bookmark, expect no bookmarks.
constexpr int kSilentWatches = 3;
// A server that lags reaches the version sooner; one whose etcd was restored from a backup
// never does.
constexpr int kTooLargeVersions = 5;
constexpr absl::Duration kGrace = absl::Seconds(30);
constexpr size_t kMaxErrorBody = size_t{64} << 10;

constexpr int kOk = 200;
constexpr int kBadRequest = 400;
constexpr int kUnauthorized = 401;
constexpr int kForbidden = 403;
constexpr int kGone = 410;
constexpr int kUnprocessable = 422;
constexpr int kTooManyRequests = 429;
constexpr int kServerErrors = 500;

// RFC 3986, for a value in a query.
std::string Escape(absl::string_view value) {
  std::string escaped;
  for (const char c : value) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("-._~", c)) {
      escaped.push_back(c);
    } else {
      absl::StrAppendFormat(&escaped, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

abi::SourceError KindOf(int status) {
  switch (status) {
    case kUnauthorized:
      return abi::SourceError::kUnauthorized;
    case kForbidden:
      return abi::SourceError::kForbidden;
    case kGone:
      return abi::SourceError::kExpired;
    case kTooManyRequests:
      return abi::SourceError::kThrottled;
    default:
      return status >= kServerErrors ? abi::SourceError::kServer : abi::SourceError::kHttp;
  }
}

abi::SourceError KindOf(kubernetes::HttpEnd::Kind kind) {
  switch (kind) {
    case kubernetes::HttpEnd::Kind::kConnect:
      return abi::SourceError::kConnect;
    case kubernetes::HttpEnd::Kind::kTls:
      return abi::SourceError::kTls;
    case kubernetes::HttpEnd::Kind::kStalled:
      return abi::SourceError::kStalled;
    default:
      return abi::SourceError::kCut;
  }
}

// What the administrator can do about it.
absl::string_view Remedy(abi::SourceError kind) {
  switch (kind) {
    case abi::SourceError::kUnauthorized:
      return "; the credentials are not valid for this cluster, or have expired";
    case abi::SourceError::kForbidden:
      return "; bind the account to a ClusterRole with apiGroups [\"\"], resources [\"services\"], "
             "verbs [\"list\", \"watch\"]";
    default:
      return "";
  }
}

}  // namespace

Reflector::Reflector(const Options& options, absl::BitGenRef random)
    : options_(options),
      random_(random),
      backoff_(options.backoff_first, options.backoff_max, random),
      relist_backoff_(std::min(options.relist_spread, options.backoff_max), options.backoff_max,
                      random) {
  BeginList();
  delay_ = backoff_.Spread(options_.first_spread);
}

std::string Reflector::ListTarget() const {
  const bool any_version = resource_version_.empty() || version_in_doubt_;
  const bool not_older = continue_token_.empty() && !any_version && !wants_latest_;
  std::string query;
  if (!not_older) absl::StrAppend(&query, "&limit=", options_.page);
  if (offers_selector_) absl::StrAppend(&query, kSelector);
  if (!continue_token_.empty()) {
    // The token contains the version of the list.
    absl::StrAppend(&query, "&continue=", Escape(continue_token_));
  } else if (not_older) {
    absl::StrAppend(&query, "&resourceVersion=", Escape(resource_version_),
                    "&resourceVersionMatch=NotOlderThan");
  } else if (!wants_latest_) {
    absl::StrAppend(&query, "&resourceVersion=0");
  }
  query.front() = '?';
  return absl::StrCat(kServices, query);
}

std::string Reflector::WatchTarget(bool initial_events) {
  watch_timeout_ = absl::Seconds(absl::Uniform(absl::IntervalClosed, random_,
                                               absl::ToInt64Seconds(options_.watch_min),
                                               absl::ToInt64Seconds(options_.watch_max)));
  std::string version = absl::StrCat("&resourceVersion=", Escape(resource_version_));
  if (initial_events && (resource_version_.empty() || version_in_doubt_)) {
    version = "&resourceVersion=0";
  }
  // Without a version, the server sends its latest state.
  if (initial_events && wants_latest_) version.clear();
  return absl::StrCat(
      kServices,
      "?watch=true&allowWatchBookmarks=true&timeoutSeconds=", absl::ToInt64Seconds(watch_timeout_),
      offers_selector_ ? kSelector : "",
      initial_events ? "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan" : "", version);
}

absl::Duration Reflector::IdleTimeout() const {
  if (phase_ != Phase::kWatch) return options_.list_idle;
  // A server that sends no bookmarks is silent while nothing changes.
  if (bookmarks_seen_ || silent_watches_ < kSilentWatches) return options_.watch_idle;
  return std::max(options_.watch_idle, watch_timeout_ + kGrace);
}

Reflector::Step Reflector::Next(absl::Time now) {
  if (!started_) {
    started_ = true;
    state_.since = now;
  }
  Step step;
  step.delay = std::exchange(delay_, absl::ZeroDuration());
  step.request.answer_timeout = options_.answer_timeout;
  if (phase_ == Phase::kPage) {
    step.request.target = ListTarget();
  } else {
    step.request.target = WatchTarget(phase_ == Phase::kWatchList);
  }
  step.request.idle_timeout = IdleTimeout();
  status_ = 0;
  retry_after_.reset();
  got_body_ = false;
  answered_ = absl::InfiniteFuture();
  stop_.reset();
  error_body_.clear();
  list_decoder_.reset();
  watch_decoder_.reset();
  return step;
}

void Reflector::BeginList() {
  staging_ = ServiceStore();
  continue_token_.clear();
  list_version_.clear();
  phase_ = offers_watch_list_ ? Phase::kWatchList : Phase::kPage;
}

void Reflector::ListByPages() {
  offers_watch_list_ = false;
  BeginList();
}

void Reflector::BeginListAnew() {
  offers_watch_list_ = true;
  offers_selector_ = true;
  BeginList();
}

bool Reflector::OnHead(const kubernetes::HttpHead& head, absl::Time now) {
  status_ = head.status;
  retry_after_ = head.retry_after;
  answered_ = now;
  if (status_ != kOk) return true;  // the body has details
  token_refused_ = false;
  // A list that was interrupted starts again without its Services, which may no longer
  // exist. A later page has the same version as the first.
  if (continue_token_.empty()) staging_ = ServiceStore();
  if (phase_ == Phase::kPage) {
    list_decoder_.emplace([this](ServicePorts&& service) { staging_.Put(std::move(service)); });
    return true;
  }
  watch_decoder_.emplace();
  if (phase_ == Phase::kWatch && !synced_) {
    synced_ = true;
    failure_ = absl::OkStatus();
    state_.since = now;
  }
  return true;
}

bool Reflector::OnBody(absl::string_view bytes, absl::Time now) {
  got_body_ = true;
  state_.last_event = now;
  if (status_ != kOk) {
    absl::StrAppend(&error_body_, bytes.substr(0, kMaxErrorBody - error_body_.size()));
    return error_body_.size() < kMaxErrorBody;
  }
  return phase_ == Phase::kPage ? OnListBody(bytes) : OnWatchBody(bytes, now);
}

bool Reflector::OnListBody(absl::string_view bytes) {
  const absl::Status fed = list_decoder_->Feed(bytes);
  if (fed.ok()) return true;
  stop_ = Failure{abi::SourceError::kDecode, std::string(fed.message()), true};
  return false;
}

bool Reflector::OnWatchBody(absl::string_view bytes, absl::Time now) {
  const absl::Status fed = watch_decoder_->Feed(
      bytes, [this, now](WatchEvent&& event) { return OnEvent(std::move(event), now); });
  if (fed.ok()) return true;
  // A stream with invalid data may have had other invalid data that was not detected.
  if (!stop_ && !no_list_in_watch_) {
    stop_ = Failure{abi::SourceError::kDecode, std::string(fed.message()), true};
  }
  return false;
}

absl::Status Reflector::OnEvent(WatchEvent&& event, absl::Time now) {
  ServiceStore& target = phase_ == Phase::kWatchList ? staging_ : store_;
  switch (event.type) {
    case WatchEvent::Type::kAdded:
    case WatchEvent::Type::kModified:
    case WatchEvent::Type::kUnknown:  // its skipped line is kept
      target.Put(std::move(event.service));
      break;
    case WatchEvent::Type::kDeleted:
      // Sent with the former object, also if that still exists and is no longer selected.
      if (event.service.service.empty()) {
        target.Put(std::move(event.service));
      } else {
        target.Remove(event.service.service);
      }
      break;
    case WatchEvent::Type::kBookmark:
      // The bookmark that ends the initial events comes from servers without others, too.
      if (!event.initial_events_end) bookmarks_seen_ = true;
      if (phase_ != Phase::kWatchList) break;
      if (event.initial_events_end) {
        listed_by_watch_ = true;
        Commit(std::move(event.resource_version), now);
        return absl::OkStatus();
      }
      if (now - answered_ < options_.list_idle) break;
      // An ordinary bookmark: the server does not know WatchList and will not end the list.
      no_list_in_watch_ = true;
      return absl::CancelledError("no WatchList");
    case WatchEvent::Type::kError:
      return OnErrorEvent(event.status);
  }
  if (phase_ == Phase::kWatch) {
    backoff_.Reset();
    relist_backoff_.Reset();
    if (!event.resource_version.empty()) resource_version_ = std::move(event.resource_version);
  }
  return absl::OkStatus();
}

absl::Status Reflector::OnErrorEvent(const kubernetes::ApiStatus& status) {
  Failure failure{KindOf(status.code), "the watch ended with an error that is no Status"};
  if (status.code != 0) {
    failure.message = absl::StrCat("the watch ended with ", status.code, " ", status.reason, ": ",
                                   status.message, Remedy(failure.kind));
  }
  failure.relist = status.code == kGone || phase_ == Phase::kWatchList;
  if (status.version_too_large) OnVersionTooLarge(failure);
  if (status.retry_after_seconds) failure.retry_after = absl::Seconds(*status.retry_after_seconds);
  stop_ = std::move(failure);
  return absl::CancelledError(stop_->message);
}

void Reflector::OnVersionTooLarge(Failure& failure) {
  // Not "0", which accepts any state: that of a server that lags would remove ports.
  failure.relist = false;
  if (++too_large_ < kTooLargeVersions) return;
  wants_latest_ = true;
  failure.relist = phase_ == Phase::kWatch;
}

void Reflector::Commit(std::string resource_version, absl::Time now) {
  store_.Replace(std::exchange(staging_, ServiceStore()));
  resource_version_ = std::move(resource_version);
  version_in_doubt_ = false;
  too_large_ = 0;
  wants_latest_ = false;
  continue_token_.clear();
  phase_ = Phase::kWatch;
  state_.last_reading = now;
  const absl::Duration range = options_.resync_max - options_.resync_min;
  resync_ = now + options_.resync_min + backoff_.Spread(range);
  failure_ = absl::OkStatus();
  if (!std::exchange(synced_, true)) state_.since = now;
  // Not backoff_.Reset(), which only an event or a bookmark does: if a server lists well
  // and then cuts every watch, the list would repeat without backoff.
}

void Reflector::OnEnd(const kubernetes::HttpEnd& end, absl::Time now) {
  if (stop_) return Fail(*std::exchange(stop_, std::nullopt), now);
  if (std::exchange(no_list_in_watch_, false)) return ListByPages();
  if (end.kind != kubernetes::HttpEnd::Kind::kComplete &&
      end.kind != kubernetes::HttpEnd::Kind::kStopped) {
    return EndTransport(end, now);
  }
  if (status_ != kOk) return EndBadStatus(now);
  if (phase_ == Phase::kPage) return EndList(now);
  EndWatch(now);
}

void Reflector::EndList(absl::Time now) {
  absl::StatusOr<ListDecoder::Page> page = list_decoder_->Finish();
  if (!page.ok()) {
    return Fail({abi::SourceError::kDecode, std::string(page.status().message()), true}, now);
  }
  if (list_version_.empty()) list_version_ = std::move(page->resource_version);
  if (page->continue_token.empty()) {
    listed_by_watch_ = false;
    Commit(std::move(list_version_), now);
    return;
  }
  if (page->continue_token == continue_token_) {
    return Fail({abi::SourceError::kDecode, "a page names itself as the next one", true}, now);
  }
  continue_token_ = std::move(page->continue_token);
}

void Reflector::EndWatch(absl::Time now) {
  if (phase_ == Phase::kWatchList) {
    return Fail({abi::SourceError::kCut, "the initial events came to no end", true}, now);
  }
  if (const absl::Status whole = watch_decoder_->Finish(); !whole.ok()) {
    return Fail({abi::SourceError::kCut, std::string(whole.message())}, now);
  }
  if (!got_body_ && now - answered_ < kShortWatch) {
    return Fail({abi::SourceError::kCut, "the server ended the watch at once"}, now);
  }
  // Not a failure, because events arrived; but do not repeat it as fast as the server can.
  if (now - answered_ < kShortWatch) delay_ = backoff_.Next();
  // The watch timed out: resume it, unless a resync is due.
  if (now >= resync_) BeginListAnew();
}

void Reflector::EndBadStatus(absl::Time now) {
  const kubernetes::ApiStatus status = kubernetes::DecodeStatus(error_body_);
  const std::string said = status.message.empty()
                               ? absl::StrCat("HTTP status ", status_)
                               : absl::StrCat("HTTP status ", status_, ": ", status.message);
  if (status_ == kBadRequest || status_ == kUnprocessable) {
    return EndBadRequest(status.message, said, now);
  }
  if (status_ == kUnauthorized && !token_refused_) {
    // The token may have rotated since it was read.
    token_refused_ = true;
    return;
  }
  Failure failure{KindOf(status_), absl::StrCat(said, Remedy(KindOf(status_)))};
  failure.relist = status_ == kGone;
  if (status.version_too_large) OnVersionTooLarge(failure);
  failure.retry_after = retry_after_;
  if (!failure.retry_after && status.retry_after_seconds) {
    failure.retry_after = absl::Seconds(*status.retry_after_seconds);
  }
  Fail(std::move(failure), now);
}

// The server refused the request: drop parameters that it may not know, one after the
// other, before reporting an error.
void Reflector::EndBadRequest(const std::string& message, const std::string& said, absl::Time now) {
  const bool about_selector = absl::StrContains(message, "field label not supported") ||
                              absl::StrContains(message, "field selector");
  const bool lists_by_watch = phase_ == Phase::kWatchList;
  if (offers_selector_ && (about_selector || !lists_by_watch)) {
    offers_selector_ = false;
  } else if (lists_by_watch) {
    offers_watch_list_ = false;
  } else {
    if (phase_ == Phase::kWatch) version_in_doubt_ = true;
    return Fail({abi::SourceError::kHttp, said, true}, now);
  }
  if (phase_ != Phase::kWatch) BeginList();
}

void Reflector::EndTransport(const kubernetes::HttpEnd& end, absl::Time now) {
  Failure failure{KindOf(end.kind), end.message};
  if (end.kind == kubernetes::HttpEnd::Kind::kStalled && status_ == kOk) {
    if (phase_ == Phase::kWatchList) {
      // Complete events but no end of the list: the server does not know
      // sendInitialEvents.
      if (watch_decoder_->Finish().ok()) return ListByPages();
      failure.relist = true;
    } else if (phase_ == Phase::kWatch) {
      ++silent_watches_;
      if (!got_body_) {
        // Not even a bookmark. The server may wait for a version that it has yet to
        // reach, because etcd was restored from a backup.
        version_in_doubt_ = true;
        failure.relist = true;
      }
    }
  }
  Fail(std::move(failure), now);
}

void Reflector::OnNoCredentials(const absl::Status& status, absl::Time now) {
  Fail({abi::SourceError::kUnauthorized, std::string(status.message())}, now);
}

void Reflector::OnNoAccess(const absl::Status& status, absl::Time now) {
  NoteFailure(absl::IsInvalidArgument(status) ? abi::SourceError::kDecode : abi::SourceError::kRead,
              std::string(status.message()), now);
  delay_ = options_.access_retry;
}

void Reflector::OnOtherServer() {
  version_in_doubt_ = true;
  bookmarks_seen_ = false;
  silent_watches_ = 0;
  token_refused_ = false;
  BeginListAnew();
}

void Reflector::NoteFailure(abi::SourceError kind, const std::string& message, absl::Time now) {
  const absl::string_view doing = phase_ == Phase::kWatch ? "watch Services" : "list Services";
  failure_ = absl::UnavailableError(absl::StrCat(doing, ": ", message));
  ++state_.errors[kind];
  state_.last_error = std::string(failure_.message());
  if (std::exchange(synced_, false)) state_.since = now;
}

void Reflector::Fail(Failure failure, absl::Time now) {
  NoteFailure(failure.kind, failure.message, now);
  delay_ = failure.kind == abi::SourceError::kExpired ? relist_backoff_.Next() : backoff_.Next();
  if (failure.retry_after) {
    // A little later than requested, at another time on each node.
    const absl::Duration asked = std::min(*failure.retry_after, options_.retry_after_max);
    delay_ = std::max(delay_, asked + backoff_.Spread(asked / 4));
  }
  if (!failure.relist) return;
  if (phase_ == Phase::kWatch) return BeginListAnew();
  // A server that does not know sendInitialEvents ignores it: such a watch begins at a
  // version, which may have expired, and never ends its list.
  if (phase_ == Phase::kWatchList) return ListByPages();
  BeginList();
}

SourceState Reflector::State() const {
  SourceState state = state_;
  state.connected = synced_;
  state.resource_version = resource_version_;
  state.services = store_.services();
  state.ports = store_.reading()->ports.size();
  state.health_check_ports = store_.health_check_ports();
  state.skipped = store_.reading()->skipped.size();
  return state;
}

}  // namespace npg::sources
