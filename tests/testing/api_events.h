// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_EVENTS_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_EVENTS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "testing/api_request.h"
#include "testing/api_status.h"

namespace npg::testing {

// The Events of events.k8s.io/v1 of an API server. Validates them as a real one does
// (ValidateEventCreate and ValidateEventUpdate of k8s.io/kubernetes). Not thread-safe.
class ApiEvents {
 public:
  // POST to, or PATCH below, /apis/events.k8s.io/v1/namespaces/NAMESPACE/events.
  ApiAnswer Handle(const ApiRequest& request);

  // As JSON, sorted by namespace and name.
  std::vector<std::string> All() const;
  // Deletes all, as a server does after their TTL.
  void Clear() { events_.clear(); }

 private:
  ApiAnswer Create(const ApiRequest& request);
  ApiAnswer Patch(const ApiRequest& request);

  std::map<std::string, std::string> events_;  // by "namespace/name"
};

// The refusal of a user without permission for `verb`, such as "create".
ApiAnswer ForbiddenEvents(absl::string_view verb, absl::string_view ns);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_EVENTS_H_
