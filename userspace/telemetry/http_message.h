// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TELEMETRY_HTTP_MESSAGE_H_
#define NODEPORT_GUARD_TELEMETRY_HTTP_MESSAGE_H_

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace npg::telemetry {

// A request without a body: the server takes no others.
struct HttpRequest {
  std::string path;         // as it was sent, without the query
  std::string host;         // without the port; empty when there was none (HTTP/1.0)
  bool head = false;        // HEAD, otherwise GET
  bool keep_alive = false;  // the client wants to ask more
  bool wants_json = false;  // Accept has application/json
};

// The longest head of a request: request line, headers, and the empty line.
inline constexpr size_t kMaxHttpHead = 8192;

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string security_policy = "default-src 'none'; frame-ancestors 'none'";
  std::string allow;        // of a 405
  std::string retry_after;  // of a 503: seconds
  // Shared: many connections may be sending the same one.
  std::shared_ptr<const std::string> body = std::make_shared<const std::string>();
};

// One line of text.
HttpResponse TextResponse(int status, absl::string_view line);

// Reads a head, the empty line at its end included. Strict: what one reader of
// HTTP takes for something else than another is answered by an error, after
// which the connection is of no more use.
std::variant<HttpRequest, HttpResponse> ParseHttpHead(absl::string_view head);

// Status line and headers of a response.
std::string HttpHead(const HttpResponse& response, bool keep_alive, absl::Time now);

// Whether a browser that was led here by a name that somebody else controls
// would say this Host: only addresses and localhost have no such owner.
bool IsTrustedHost(absl::string_view host);

}  // namespace npg::telemetry

#endif  // NODEPORT_GUARD_TELEMETRY_HTTP_MESSAGE_H_
