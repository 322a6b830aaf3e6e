// SPDX-License-Identifier: Apache-2.0
#include "testing/api_fault.h"

#include "absl/strings/str_cat.h"
#include "testing/api_request.h"
#include "testing/api_status.h"

namespace npg::testing {
namespace {

ApiAnswer PlainAnswer(int code) {
  switch (code) {
    case 400:
      return BadRequest("the server rejected our request for an unknown reason");
    case 401:
      return Unauthorized();
    case 403:
      return Forbidden("system:anonymous", "list");
    case 410:
      return Expired("The resourceVersion for the provided list is too old.");
    case 429:
      return StatusAnswer(429, "TooManyRequests", "Too many requests, please try again later.");
    case 500:
      return StatusAnswer(500, "InternalError", "Internal error occurred: etcd has no leader");
    case 503:
      return StatusAnswer(503, "ServiceUnavailable",
                          "apiserver is shutting down: the server is currently unable to handle "
                          "the request");
    case 504:
      return StatusAnswer(504, "Timeout",
                          "Timeout: request did not complete within the allotted "
                          "timeout");
    default:
      return StatusAnswer(code, "", absl::StrCat("an answer of code ", code));
  }
}

bool IsFor(const Fault& fault, const ApiRequest& request) {
  if (fault.on != RequestKind::kAny && fault.on != request.kind()) return false;
  return !fault.only_if || fault.only_if(request);
}

}  // namespace

ApiAnswer FaultAnswer(int code, int retry_after) {
  ApiAnswer answer = PlainAnswer(code);
  answer.retry_after = retry_after;
  return answer;
}

ApiAnswer HtmlAnswer() {
  ApiAnswer answer;
  answer.body = "<!DOCTYPE html><html><body>Please log in.</body></html>\n";
  answer.content_type = "text/html; charset=utf-8";
  return answer;
}

Fault FaultQueue::Take(const ApiRequest& request) {
  for (auto it = faults_.begin(); it != faults_.end(); ++it) {
    if (!IsFor(*it, request)) continue;
    Fault fault = *it;
    if (it->count > 0 && --it->count == 0) faults_.erase(it);
    return fault;
  }
  return {};
}

}  // namespace npg::testing
