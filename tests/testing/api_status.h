// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_STATUS_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_STATUS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace npg::testing {

// An answer that is not a stream.
struct ApiAnswer {
  int code = 200;  // of HTTP
  std::string body;
  int retry_after = 0;  // seconds for the header Retry-After, 0: none
  std::string content_type = "application/json";
};

// `text` as a JSON string, with its quotes.
std::string JsonQuote(absl::string_view text);

// A Status of apimachinery on one line, without a line feed. `metadata` and
// `details` are JSON objects, `details` may be left out.
std::string StatusJson(int code, absl::string_view reason, absl::string_view message,
                       absl::string_view details = {}, absl::string_view metadata = "{}");

// The same as an answer.
ApiAnswer StatusAnswer(int code, absl::string_view reason, absl::string_view message,
                       absl::string_view details = {}, absl::string_view metadata = "{}");

// The refusals of a real API server, with its messages.
ApiAnswer BadRequest(absl::string_view message);
ApiAnswer Unauthorized();
// `verb` is "list" or "watch".
ApiAnswer Forbidden(absl::string_view user, absl::string_view verb);
ApiAnswer NotFound();
ApiAnswer MethodNotAllowed();
ApiAnswer Expired(absl::string_view message, absl::string_view metadata = "{}");
// A resourceVersion that has not been reached.
ApiAnswer TooLargeVersion(uint64_t wanted, uint64_t current);
// Options that contradict each other: `field` is named in ListOptions.
ApiAnswer InvalidOption(absl::string_view field, absl::string_view message);

// The line of a watch that ends it: type ERROR, and the Status of `answer`.
std::string ErrorEvent(const ApiAnswer& answer);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_STATUS_H_
