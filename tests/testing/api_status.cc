// SPDX-License-Identifier: Apache-2.0
#include "testing/api_status.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace npg::testing {

std::string JsonQuote(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", static_cast<unsigned char>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string StatusJson(int code, absl::string_view reason, absl::string_view message,
                       absl::string_view details, absl::string_view metadata) {
  std::string json = absl::StrCat(R"({"kind":"Status","apiVersion":"v1","metadata":)", metadata,
                                  R"(,"status":"Failure","message":)", JsonQuote(message));
  if (!reason.empty()) absl::StrAppend(&json, R"(,"reason":)", JsonQuote(reason));
  if (!details.empty()) absl::StrAppend(&json, R"(,"details":)", details);
  return absl::StrCat(json, R"(,"code":)", code, "}");
}

ApiAnswer StatusAnswer(int code, absl::string_view reason, absl::string_view message,
                       absl::string_view details, absl::string_view metadata) {
  return {code, absl::StrCat(StatusJson(code, reason, message, details, metadata), "\n")};
}

ApiAnswer BadRequest(absl::string_view message) { return StatusAnswer(400, "BadRequest", message); }

ApiAnswer Unauthorized() { return StatusAnswer(401, "Unauthorized", "Unauthorized"); }

ApiAnswer Forbidden(absl::string_view user, absl::string_view verb) {
  return StatusAnswer(
      403, "Forbidden",
      absl::StrCat("services is forbidden: User ", JsonQuote(user), " cannot ", verb,
                   " resource \"services\" in API group \"\" at the cluster scope"),
      R"({"kind":"services"})");
}

ApiAnswer NotFound() {
  return StatusAnswer(404, "NotFound", "the server could not find the requested resource", "{}");
}

ApiAnswer MethodNotAllowed() {
  return StatusAnswer(405, "MethodNotAllowed",
                      "the server does not allow this method on the requested resource", "{}");
}

ApiAnswer Expired(absl::string_view message, absl::string_view metadata) {
  return StatusAnswer(410, "Expired", message, {}, metadata);
}

ApiAnswer TooLargeVersion(uint64_t wanted, uint64_t current) {
  ApiAnswer answer = StatusAnswer(
      504, "Timeout",
      absl::StrCat("Timeout: Too large resource version: ", wanted, ", current: ", current),
      R"({"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],)"
      R"("retryAfterSeconds":1})");
  answer.retry_after = 1;
  return answer;
}

ApiAnswer InvalidOption(absl::string_view field, absl::string_view message) {
  const std::string cause = absl::StrCat("Forbidden: ", message);
  return StatusAnswer(422, "Invalid",
                      absl::StrCat("ListOptions.meta.k8s.io \"\" is invalid: ", field, ": ", cause),
                      absl::StrCat(R"({"group":"meta.k8s.io","kind":"ListOptions","causes":[)"
                                   R"({"reason":"FieldValueForbidden","message":)",
                                   JsonQuote(cause), R"(,"field":)", JsonQuote(field), "}]}"));
}

std::string ErrorEvent(const ApiAnswer& answer) {
  return absl::StrCat(R"({"type":"ERROR","object":)", absl::StripSuffix(answer.body, "\n"), "}\n");
}

}  // namespace npg::testing
