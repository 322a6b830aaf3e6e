// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_KUBE_EVENT_ANSWER_H_
#define NODEPORT_GUARD_SERVE_KUBE_EVENT_ANSWER_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace npg::serve {

// The result of a request.
struct KubeEventAnswer {
  int status = 0;  // of HTTP; 0: no complete response, see `failure`
  std::string body = {};
  std::optional<absl::Duration> retry_after = {};
  std::string failure = {};
};

inline constexpr int kHttpForbidden = 403;
inline constexpr int kHttpNotFound = 404;
inline constexpr int kHttpUnprocessable = 422;
inline constexpr int kHttpServerErrors = 500;  // and above

bool Successful(const KubeEventAnswer& answer);

// Whether a retry may succeed.
bool Passing(const KubeEventAnswer& answer);

// The server has an object of this name.
bool AlreadyExists(const KubeEventAnswer& answer);

// The namespace is being removed: 403, but no right is missing.
bool NamespaceTerminates(const KubeEventAnswer& answer);

// "HTTP 500: etcd is down", or why there was no response.
std::string Reason(const KubeEventAnswer& answer);

// PERMISSION_DENIED, with the reason and the right that Events need.
absl::Status ForbiddenError(const KubeEventAnswer& answer);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_KUBE_EVENT_ANSWER_H_
