// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_HTTP_EXCHANGE_H_
#define NODEPORT_GUARD_TESTS_TESTING_HTTP_EXCHANGE_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace npg::testing {

// A parsed response. The status is 0 if it is invalid.
struct HttpReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// A connection to 127.0.0.1; empty if it was refused.
base::UniqueFd ConnectToHttp(uint16_t port);

// Sends all of `text`, without SIGPIPE; returns false on an error.
bool SendText(int fd, absl::string_view text);

// Reads until the other side closes, for a minute at most.
std::string ReadToEnd(int fd);

// Waits until the other side has closed or reset the connection; at most a minute.
void WaitForHangUp(int fd);

// One response, by its Content-Length; `head` for that of a HEAD request.
HttpReply ReadReply(int fd, bool head = false);

// Parses text that is exactly one response.
HttpReply ParseReply(absl::string_view text);

// Makes a connection for one GET.
HttpReply HttpGet(uint16_t port, absl::string_view path, absl::string_view more_headers = "");

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_HTTP_EXCHANGE_H_
