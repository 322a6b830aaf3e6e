// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_KUBERNETES_API_STATUS_H_
#define NODEPORT_GUARD_KUBERNETES_API_STATUS_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace npg::kubernetes {

// A metav1.Status: the API server's response to a refused request.
struct ApiStatus {
  int code = 0;                            // as an HTTP status; 0 when it has none
  std::string reason;                      // "Expired", "Forbidden"; may be empty
  std::string message;                     // one printable line of at most 300 bytes
  std::optional<int> retry_after_seconds;  // details.retryAfterSeconds, not negative
  // The requested resourceVersion has not been reached: details.causes has the reason
  // ResourceVersionTooLarge. Other timeouts have the same code and reason.
  bool version_too_large = false;
};

// Decodes the body of an HTTP error, or the object of an ERROR event. Empty (code 0) when
// `body` is no Status: a proxy's page, an empty or truncated body.
ApiStatus DecodeStatus(absl::string_view body);

}  // namespace npg::kubernetes

#endif  // NODEPORT_GUARD_KUBERNETES_API_STATUS_H_
