// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_HTTP_SESSION_H_
#define NODEPORT_GUARD_TESTS_TESTING_HTTP_SESSION_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "testing/api_reply.h"
#include "testing/api_request.h"

namespace npg::testing {

// The server side of HTTP on one connection: bytes in and bytes out.
class HttpSession {
 public:
  using Handler = std::function<std::shared_ptr<ApiReply>(const ApiRequest&)>;

  // What to do with the connection after all produced bytes are sent.
  enum class End { kOpen, kClose, kCut, kReset };

  HttpSession() = default;
  virtual ~HttpSession() = default;
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  // Takes the bytes of the client; returns false if they are no HTTP.
  virtual bool Receive(absl::string_view bytes) = 0;
  // Appends what can be sent now, until `to` has about `most` bytes.
  virtual void Produce(size_t most, std::string& to) = 0;
  virtual End end() const = 0;
  // Announces that the connection takes no further requests; open replies go on. HTTP/1.1
  // has nothing of the kind.
  virtual void GoAway() {}
};

// `handler` makes the reply of each request. `client_known`: by certificate.
std::unique_ptr<HttpSession> MakeHttp1Session(HttpSession::Handler handler, bool client_known);
std::unique_ptr<HttpSession> MakeHttp2Session(HttpSession::Handler handler, bool client_known);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_HTTP_SESSION_H_
