// SPDX-License-Identifier: Apache-2.0
#include "serve/kube_event_answer.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "kubernetes/api_status.h"

namespace npg::serve {
namespace {

constexpr int kOk = 200;
constexpr int kMultipleChoices = 300;
constexpr int kUnauthorized = 401;
constexpr int kTimeout = 408;
constexpr int kConflict = 409;
constexpr int kGone = 410;
constexpr int kThrottled = 429;

}  // namespace

bool Successful(const KubeEventAnswer& answer) {
  return answer.status >= kOk && answer.status < kMultipleChoices;
}

bool Passing(const KubeEventAnswer& answer) {
  switch (answer.status) {
    case 0:
    case kUnauthorized:  // tokens rotate
    case kHttpNotFound:
    case kTimeout:
    case kConflict:
    case kGone:
    case kThrottled:
      return true;
    default:
      return answer.status >= kHttpServerErrors;
  }
}

bool AlreadyExists(const KubeEventAnswer& answer) {
  return answer.status == kConflict &&
         kubernetes::DecodeStatus(answer.body).reason == "AlreadyExists";
}

bool NamespaceTerminates(const KubeEventAnswer& answer) {
  return answer.status == kHttpForbidden &&
         absl::StrContains(kubernetes::DecodeStatus(answer.body).message,
                           "because it is being terminated");
}

std::string Reason(const KubeEventAnswer& answer) {
  if (answer.status == 0) return answer.failure;
  const std::string message = kubernetes::DecodeStatus(answer.body).message;
  return absl::StrCat("HTTP ", answer.status, message.empty() ? "" : ": ", message);
}

absl::Status ForbiddenError(const KubeEventAnswer& answer) {
  return absl::PermissionDeniedError(absl::StrCat(
      Reason(answer),
      "; a ClusterRole for it needs the rule: apiGroups [\"events.k8s.io\"], resources "
      "[\"events\"], verbs [\"create\", \"patch\"]; or turn it off with --kube-events=off"));
}

}  // namespace npg::serve
