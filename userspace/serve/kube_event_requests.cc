// SPDX-License-Identifier: Apache-2.0
//
// The requests of KubeEvents for the first pending Event, and what their answers mean.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "kubernetes/api_status.h"
#include "kubernetes/http_client.h"
#include "serve/kube_event.h"
#include "serve/kube_event_answer.h"
#include "serve/kube_event_json.h"
#include "serve/kube_events.h"

namespace npg::serve {
namespace {

using kubernetes::HttpRequest;

// A limit for Retry-After: a server with a wrong clock must not stop Events.
constexpr absl::Duration kLongestRetryAfter = absl::Minutes(10);

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

}  // namespace

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
      request.target = KubeEventsPath(subject.service.ns);
      request.body_type = "application/json";
      request.body =
          KubeEventJson(subject, options_.reporter, service_uid_, now, known.times, known.attempt);
      break;
    case Step::kRead:
    case Step::kPatch:
      request.method = "PATCH";
      request.target = absl::StrCat(KubeEventsPath(subject.service.ns), "/",
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
  if (step_ == Step::kCreate && (answer.status == 0 || answer.status >= kHttpServerErrors)) {
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
  if (AlreadyExists(answer)) {
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
    if (answer.status == kHttpNotFound) step_ = Step::kCreate;
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
  if (answer.status == kHttpUnprocessable &&
      absl::StrContains(kubernetes::DecodeStatus(answer.body).message, "reportingInstance")) {
    TryNextName(now);
    return absl::OkStatus();
  }
  // The server has just removed the Event.
  if (answer.status == kHttpNotFound) step_ = Step::kCreate;
  return Passing(answer) ? Retry(answer, now) : OnRefusal(answer, now);
}

absl::Status KubeEvents::OnRefusal(const KubeEventAnswer& answer, absl::Time now) {
  if (answer.status != kHttpForbidden) {
    return GiveUp(absl::InvalidArgumentError(Reason(answer)), SilentUntil(now));
  }
  if (NamespaceTerminates(answer)) {
    ++suppressed_;
    Finish(now + options_.pause);
    return absl::OkStatus();
  }
  // Every other Event would be refused, too. They wait, up to a limit, for the right.
  ++failed_;
  due_ = now + options_.pause;
  return ForbiddenError(answer);
}

}  // namespace npg::serve
