// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_HANDLER_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_HANDLER_H_

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "testing/api_events.h"
#include "testing/api_fault.h"
#include "testing/api_model.h"
#include "testing/api_reply.h"
#include "testing/api_request.h"
#include "testing/api_status.h"
#include "testing/api_traffic.h"

namespace npg::testing {

// Authentication and authorization.
struct ApiAccess {
  std::set<std::string> tokens = {};
  bool client_certificates = true;
  // If set, every request of this user gets 403.
  std::string forbidden_user = {};
  bool events_forbidden = false;  // to all users, with 403
};

// Makes the reply to a request, for any version of HTTP. Not thread-safe.
class ApiHandler {
 public:
  explicit ApiHandler(ApiAccess access) : access_(std::move(access)) {}

  ApiModel& model() { return model_; }
  ApiEvents& events() { return events_; }
  FaultQueue& faults() { return faults_; }
  ApiAccess& access() { return access_; }

  // Records the request in `traffic`, which must outlive the reply.
  std::shared_ptr<ApiReply> Handle(const ApiRequest& request, TrafficLog& traffic);

  // The watches that are still open.
  std::vector<std::shared_ptr<ApiReply>> OpenWatches();

 private:
  std::optional<ApiAnswer> Refusal(const ApiRequest& request) const;
  ApiAnswer ListByName(const ApiRequest& request) const;
  std::shared_ptr<ApiReply> Reply(const ApiRequest& request, Fault fault);

  ApiModel model_;
  ApiEvents events_;
  FaultQueue faults_;
  ApiAccess access_;
  std::vector<std::weak_ptr<ApiReply>> watches_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_HANDLER_H_
