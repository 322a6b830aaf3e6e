// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_REQUEST_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_REQUEST_H_

#include <map>
#include <string>

#include "absl/strings/match.h"
#include "testing/api_query.h"

namespace npg::testing {

enum class RequestKind {
  kAny,
  kList,   // of all Services
  kWatch,  // the same
  kOfOne,  // of the Services of one namespace: a list by name
  kEvent,  // a change of Events
};

// A request to the API server, of either version of HTTP.
struct ApiRequest {
  std::string method;
  std::string target;  // as sent, with the query
  std::string path;
  ApiQuery query;
  std::map<std::string, std::string> headers;  // names in lower case
  int http_version = 1;                        // 1 or 2
  bool client_known = false;                   // by certificate
  std::string body;

  std::string Header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? std::string() : it->second;
  }
  // kAny: for another path.
  RequestKind kind() const {
    if (absl::StartsWith(path, "/apis/events.k8s.io/v1/namespaces/")) return RequestKind::kEvent;
    if (absl::StartsWith(path, "/api/v1/namespaces/") && absl::EndsWith(path, "/services")) {
      return RequestKind::kOfOne;
    }
    if (path != "/api/v1/services") return RequestKind::kAny;
    return QueryFlag(query, "watch") ? RequestKind::kWatch : RequestKind::kList;
  }
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_REQUEST_H_
