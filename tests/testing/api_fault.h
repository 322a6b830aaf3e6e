// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_FAULT_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_FAULT_H_

#include <cstdint>
#include <functional>
#include <list>
#include <optional>

#include "absl/time/time.h"
#include "testing/api_request.h"
#include "testing/api_status.h"

namespace npg::testing {

// A fault of the server, and the requests that it applies to. Members combine: a
// garbled body can drip, and then be cut.
//
//   server->Inject({.on = RequestKind::kList, .cut_after = 100});
//   server->Inject({.answer = FaultAnswer(429, /*retry_after=*/1)});
struct Fault {
  RequestKind on = RequestKind::kAny;
  int count = 1;  // requests that it applies to; -1: all
  std::function<bool(const ApiRequest&)> only_if = {};

  bool close_before = false;             // closes the connection without an answer
  bool never_answer = false;             // sends nothing, and keeps the connection
  std::optional<ApiAnswer> answer = {};  // instead of the real one
  // In bytes of the body, without chunk sizes and frame headers.
  std::optional<uint64_t> cut_after = {};    // closes the connection, without a TLS close_notify
  std::optional<uint64_t> reset_after = {};  // HTTP/2: RST_STREAM; HTTP/1.1: a TCP reset
  std::optional<uint64_t> stall_after = {};  // sends no more, and keeps the connection
  std::optional<uint64_t> garble_at = {};    // this byte becomes 0x01, which is invalid in JSON
  uint64_t drip_bytes = 0;                   // this many bytes at once and each drip_every; 0: off
  absl::Duration drip_every = absl::Milliseconds(1);
};

// The refusal of a real server: 400, 401, 403, 410, 429, 500, 503, 504.
// `retry_after` is in seconds; 0: no such header.
ApiAnswer FaultAnswer(int code, int retry_after = 0);
// 200 and a web page, as from a proxy or a captive portal.
ApiAnswer HtmlAnswer();

// The pending faults, in order: the first one that matches a request applies to it.
class FaultQueue {
 public:
  void Add(Fault fault) { faults_.push_back(std::move(fault)); }
  void Clear() { faults_.clear(); }
  Fault Take(const ApiRequest& request);

 private:
  std::list<Fault> faults_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_FAULT_H_
