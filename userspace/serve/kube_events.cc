// SPDX-License-Identifier: Apache-2.0
#include "serve/kube_events.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/random/bit_gen_ref.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/conflicts.h"
#include "kubernetes/api_status.h"
#include "kubernetes/http_client.h"
#include "serve/kube_event.h"
#include "serve/kube_event_counts.h"

namespace npg::serve {
namespace {

using kubernetes::DecodeStatus;
using kubernetes::HttpRequest;

constexpr int kSightings = 2;
constexpr int kSightingsWithoutOwner = 4;
// A limit for Retry-After: a server with a wrong clock must not stop Events.
constexpr absl::Duration kLongestRetryAfter = absl::Minutes(10);

constexpr int kOk = 200;
constexpr int kMultipleChoices = 300;
constexpr int kUnauthorized = 401;
constexpr int kForbidden = 403;
constexpr int kNotFound = 404;
constexpr int kTimeout = 408;
constexpr int kConflict = 409;
constexpr int kGone = 410;
constexpr int kUnprocessable = 422;
constexpr int kThrottled = 429;
constexpr int kServerErrors = 500;

bool Successful(const KubeEventAnswer& answer) {
  return answer.status >= kOk && answer.status < kMultipleChoices;
}

// Whether a retry may succeed.
bool Passing(const KubeEventAnswer& answer) {
  switch (answer.status) {
    case 0:
    case kUnauthorized:  // tokens rotate
    case kNotFound:
    case kTimeout:
    case kConflict:
    case kGone:
    case kThrottled:
      return true;
    default:
      return answer.status >= kServerErrors;
  }
}

std::string Reason(const KubeEventAnswer& answer) {
  if (answer.status == 0) return answer.failure;
  const std::string message = DecodeStatus(answer.body).message;
  return absl::StrCat("HTTP ", answer.status, message.empty() ? "" : ": ", message);
}

// The uid of the only item of a list: empty when it has none, nullopt when there
// is no item.
std::optional<std::string> UidOf(const std::string& list) {
  const nlohmann::json json = nlohmann::json::parse(list, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("items")) return "";
  const nlohmann::json& items = json["items"];
  if (!items.is_array() || items.empty()) return std::nullopt;
  const auto pointer = nlohmann::json::json_pointer("/metadata/uid");
  if (!items[0].is_object() || !items[0].contains(pointer)) return "";
  const nlohmann::json& uid = items[0][pointer];
  return uid.is_string() ? uid.get<std::string>() : "";
}

std::string EventsPath(const KubeEventSubject& subject) {
  return absl::StrCat("/apis/events.k8s.io/v1/namespaces/", subject.service.ns, "/events");
}

}  // namespace

KubeEvents::KubeEvents(Options options, absl::BitGenRef random)
    : options_(std::move(options)),
      backoff_(options_.backoff_first, options_.backoff_max, random) {}

void KubeEvents::Observe(const std::vector<inspect::GuardedConflict>& conflicts, absl::Time now) {
  for (auto& [identity, known] : known_) known.present = false;
  std::vector<KubeEventSubject> fresh;
  for (const inspect::GuardedConflict& conflict : conflicts) {
    std::optional<KubeEventSubject> subject = SubjectOf(conflict);
    if (!subject) continue;
    subject->unguarded = conflict.state == inspect::ConflictState::kUnguarded;
    if (const auto it = known_.find(subject->Identity()); it != known_.end()) {
      See(it->first, it->second, *std::move(subject), now);
    } else {
      fresh.push_back(*std::move(subject));
    }
  }
  // Any user can cause conflicts of untrusted listeners, which must not take the room of others.
  std::stable_partition(fresh.begin(), fresh.end(), [](const auto& one) { return one.trusted; });
  // After the loop above has found conflicts that ended and can make room.
  for (KubeEventSubject& subject : fresh) {
    if (!subject.trusted && known_.size() >= options_.most_known / 2) break;
    std::string identity = subject.Identity();
    if (!known_.contains(identity) && !MakeRoom()) continue;
    const auto it = known_.try_emplace(std::move(identity)).first;
    See(it->first, it->second, std::move(subject), now);
  }
  Forget(now);
}

void KubeEvents::See(const std::string& identity, Known& known, KubeEventSubject subject,
                     absl::Time now) {
  if (known.present) return;  // another socket of the same owner
  known.present = true;
  ++known.sightings;
  if (known.pending) return;
  const int needed = subject.owner.pid == 0 ? kSightingsWithoutOwner : kSightings;
  known.subject = std::move(subject);
  if (known.sightings >= needed && now >= known.quiet_until) Enqueue(identity, known, now);
}

// Removes the oldest entry that only suppresses a repetition.
bool KubeEvents::MakeRoom() {
  if (known_.size() < options_.most_known) return true;
  auto oldest = known_.end();
  for (auto it = known_.begin(); it != known_.end(); ++it) {
    if (it->second.present || it->second.pending) continue;
    if (oldest == known_.end() || it->second.quiet_until < oldest->second.quiet_until) oldest = it;
  }
  if (oldest == known_.end()) return false;
  known_.erase(oldest);
  return true;
}

void KubeEvents::Enqueue(const std::string& identity, Known& known, absl::Time now) {
  const size_t most =
      known.subject.trusted ? options_.most_pending : (options_.most_pending + 1) / 2;
  if (pending_.size() >= most) {
    ++suppressed_;
    known.quiet_until = now + options_.pause;
    return;
  }
  known.pending = true;
  // Those behind it follow it.
  if (pending_.empty()) due_ = std::max(due_, now + backoff_.Spread(options_.spread));
  pending_.push_back(identity);
}

// Removes conflicts that ended; keeps those that must not be reported again yet.
void KubeEvents::Forget(absl::Time now) {
  for (auto it = known_.begin(); it != known_.end();) {
    Known& known = it->second;
    if (known.present) {
      ++it;
      continue;
    }
    known.sightings = 0;
    const bool first = known.pending && pending_.front() == it->first;
    if (known.pending && !(first && under_way_)) {
      pending_.erase(std::find(pending_.begin(), pending_.end(), it->first));
      known.pending = false;
      if (first) Restart();
    }
    it = !known.pending && now >= known.quiet_until ? known_.erase(it) : std::next(it);
  }
}

void KubeEvents::Restart() {
  step_ = Step::kLookUp;
  attempts_ = 0;
  unsure_ = false;
  service_uid_.clear();
  backoff_.Reset();
}

absl::Time KubeEvents::due() const {
  return pending_.empty() || under_way_ ? absl::InfiniteFuture() : due_;
}

std::optional<HttpRequest> KubeEvents::Next(absl::Time now) {
  if (now < due()) return std::nullopt;
  under_way_ = true;
  const Known& known = Front();
  const KubeEventSubject& subject = known.subject;
  HttpRequest request;
  switch (step_) {
    case Step::kLookUp:
      request.target = absl::StrCat("/api/v1/namespaces/", subject.service.ns,
                                    "/services?fieldSelector=metadata.name%3D",
                                    subject.service.name, "&resourceVersion=0");
      break;
    case Step::kCreate:
      request.method = "POST";
      request.target = EventsPath(subject);
      request.body_type = "application/json";
      request.body =
          KubeEventJson(subject, options_.reporter, service_uid_, now, known.times, known.attempt);
      break;
    case Step::kRead:
    case Step::kPatch:
      request.method = "PATCH";
      request.target = absl::StrCat(EventsPath(subject), "/",
                                    KubeEventName(subject, options_.reporter.node, known.attempt));
      request.body_type = "application/merge-patch+json";
      request.body = step_ == Step::kRead
                         ? "{}"
                         : KubeEventSeriesJson(options_.reporter, known.times + 1, now);
      break;
  }
  return request;
}

absl::Status KubeEvents::OnAnswer(const KubeEventAnswer& answer, absl::Time now) {
  under_way_ = false;
  switch (step_) {
    case Step::kLookUp:
      return OnLookUp(answer, now);
    case Step::kCreate:
      return OnCreate(answer, now);
    case Step::kRead:
      return OnRead(answer, now);
    case Step::kPatch:
      return OnPatch(answer, now);
  }
  return absl::OkStatus();
}

absl::Time KubeEvents::SilentUntil(absl::Time now) {
  return now + options_.silence + backoff_.Spread(options_.silence / 4);
}

void KubeEvents::Finish(absl::Time quiet_until) {
  Known& known = Front();
  known.pending = false;
  known.quiet_until = quiet_until;
  pending_.pop_front();
  Restart();
  due_ = absl::InfinitePast();
}

void KubeEvents::Sent(absl::Time now) {
  ++created_;
  ++Front().times;
  Finish(SilentUntil(now));
}

void KubeEvents::Proceed(Step step, absl::Time now) {
  step_ = step;
  due_ = now;
}

void KubeEvents::TryNextName(absl::Time now) {
  Known& known = Front();
  known.counted = false;
  unsure_ = false;
  if (++known.attempt < kKubeEventTries) {
    return Proceed(Step::kCreate, now + backoff_.Spread(options_.spread));
  }
  known.attempt = 0;
  ++suppressed_;
  Finish(SilentUntil(now));
}

absl::Status KubeEvents::GiveUp(absl::Status why, absl::Time quiet_until) {
  ++failed_;
  Finish(quiet_until);
  return why;
}

absl::Status KubeEvents::Retry(const KubeEventAnswer& answer, absl::Time now) {
  if (step_ == Step::kCreate && (answer.status == 0 || answer.status >= kServerErrors)) {
    unsure_ = true;
  }
  if (++attempts_ >= options_.attempts) {
    return GiveUp(absl::UnavailableError(Reason(answer)), now + options_.pause);
  }
  const absl::Duration asked =
      std::min(answer.retry_after.value_or(absl::ZeroDuration()), kLongestRetryAfter);
  due_ = now + std::max(backoff_.Next(), asked);
  return absl::OkStatus();
}

absl::Status KubeEvents::OnLookUp(const KubeEventAnswer& answer, absl::Time now) {
  if (Successful(answer)) {
    std::optional<std::string> uid = UidOf(answer.body);
    if (!uid) {
      // The Service was removed.
      Finish(now + options_.pause);
      return absl::OkStatus();
    }
    service_uid_ = *std::move(uid);
  } else if (Passing(answer)) {
    return Retry(answer, now);
  }
  // Without the Service's uid, the Event is still in every list of Events.
  Proceed(Step::kCreate, now);
  return absl::OkStatus();
}

absl::Status KubeEvents::OnCreate(const KubeEventAnswer& answer, absl::Time now) {
  if (Successful(answer)) {
    Front().counted = true;
    Sent(now);
    return absl::OkStatus();
  }
  if (answer.status == kConflict && DecodeStatus(answer.body).reason == "AlreadyExists") {
    if (!Front().counted) {
      Proceed(Step::kRead, now);
    } else if (unsure_) {
      Sent(now);
    } else {
      Proceed(Step::kPatch, now);
    }
    return absl::OkStatus();
  }
  return Passing(answer) ? Retry(answer, now) : OnRefusal(answer, now);
}

absl::Status KubeEvents::OnRead(const KubeEventAnswer& answer, absl::Time now) {
  if (!Successful(answer) && Passing(answer)) {
    // The server has just removed the Event.
    if (answer.status == kNotFound) step_ = Step::kCreate;
    return Retry(answer, now);
  }
  Known& known = Front();
  const bool known_before = known.times > 0;
  if (Successful(answer) && IsOtherKubeEvent(answer.body, known.subject, options_.reporter.node)) {
    TryNextName(now);
    return absl::OkStatus();
  }
  // An account that may not read may not patch; report that when a patch is needed.
  if (!Successful(answer) && known_before) return OnRefusal(answer, now);
  const uint64_t count = Successful(answer) ? KubeEventCountIn(answer.body) : 1;
  known.counted = Successful(answer);
  if (known_before) {
    known.times = std::max(known.times, count);
    Proceed(Step::kPatch, now);
  } else if (unsure_ && count == 1) {
    Sent(now);
  } else {
    // An earlier run has sent it.
    ++suppressed_;
    known.times = count;
    Finish(SilentUntil(now));
  }
  return absl::OkStatus();
}

absl::Status KubeEvents::OnPatch(const KubeEventAnswer& answer, absl::Time now) {
  if (Successful(answer)) {
    Sent(now);
    return absl::OkStatus();
  }
  // The server had removed the Event, and another node took its name.
  if (answer.status == kUnprocessable &&
      absl::StrContains(DecodeStatus(answer.body).message, "reportingInstance")) {
    TryNextName(now);
    return absl::OkStatus();
  }
  // The server has just removed the Event.
  if (answer.status == kNotFound) step_ = Step::kCreate;
  return Passing(answer) ? Retry(answer, now) : OnRefusal(answer, now);
}

absl::Status KubeEvents::OnRefusal(const KubeEventAnswer& answer, absl::Time now) {
  if (answer.status != kForbidden) {
    return GiveUp(absl::InvalidArgumentError(Reason(answer)), SilentUntil(now));
  }
  if (absl::StrContains(DecodeStatus(answer.body).message, "because it is being terminated")) {
    // The namespace is being removed. No right is missing.
    ++suppressed_;
    Finish(now + options_.pause);
    return absl::OkStatus();
  }
  // Every other Event would be refused, too. They wait, up to a limit, for the right.
  ++failed_;
  due_ = now + options_.pause;
  return absl::PermissionDeniedError(absl::StrCat(
      Reason(answer),
      "; a ClusterRole for it needs the rule: apiGroups [\"events.k8s.io\"], resources "
      "[\"events\"], verbs [\"create\", \"patch\"]; or turn it off with --kube-events=off"));
}

KubeEventCounts KubeEvents::counts() const { return {created_, failed_, suppressed_}; }

}  // namespace npg::serve
