// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SERVE_HTTP_MESSAGE_H_
#define NODEPORT_GUARD_SERVE_HTTP_MESSAGE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace npg::serve {

// Handlers of routes get a GET or a HEAD only.
struct HttpRequest {
  std::string method;
  std::string path;         // without the query
  std::string host;         // the header; empty where there is none
  bool wants_json = false;  // Accept has application/json
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string security_policy = "default-src 'none'; frame-ancestors 'none'";
  std::string body;
};

// One line of text.
HttpResponse TextResponse(int status, absl::string_view line);

// Whether the Host header (optionally with a port) is safe against DNS rebinding: an
// attacker can point a domain name here, but not an address or localhost.
bool IsTrustedHost(absl::string_view host);

}  // namespace npg::serve

#endif  // NODEPORT_GUARD_SERVE_HTTP_MESSAGE_H_
