// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_TRAFFIC_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_TRAFFIC_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "testing/api_query.h"
#include "testing/api_request.h"

namespace npg::testing {

// A request as received by the server, and its answer.
struct RecordedRequest {
  absl::Time time;
  RequestKind kind = RequestKind::kAny;
  std::string method;
  std::string target;
  std::string path;
  ApiQuery query;
  int http_version = 1;
  std::string authorization;
  std::string user_agent;
  std::string body;         // of the request
  int code = 0;             // of the answer; 0: no answer
  uint64_t body_bytes = 0;  // sent so far
  bool ended = false;       // the answer is complete, or was cut by either side
};

struct Traffic {
  std::vector<RecordedRequest> requests;  // in order
  uint64_t connections = 0;               // accepted, ever
  uint64_t failed_handshakes = 0;
  int open_connections = 0;
  int open_watches = 0;

  size_t Count(RequestKind kind) const;
};

// The traffic of a server; written by its thread, read by tests.
class TrafficLog {
 public:
  Traffic Get() const;
  void Update(absl::FunctionRef<void(Traffic&)> change);
  // Waits until `condition` holds, which is checked at every change; returns false at
  // `deadline`.
  bool WaitUntil(absl::Duration deadline, absl::FunctionRef<bool(const Traffic&)> condition) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  Traffic traffic_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_TRAFFIC_H_
