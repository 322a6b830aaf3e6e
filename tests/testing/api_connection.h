// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_CONNECTION_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "testing/http_session.h"
#include "testing/tls_certificates.h"

namespace npg::testing {

// One accepted connection: TLS around the session that ALPN chooses. Never
// blocks. Whoever owns it closes it when a call returns false.
class ApiConnection {
 public:
  // `fd` does not block; `ssl` is on it.
  ApiConnection(base::UniqueFd fd, SslPtr ssl, HttpSession::Handler handler)
      : fd_(std::move(fd)), ssl_(std::move(ssl)), handler_(std::move(handler)) {}

  int fd() const { return fd_.get(); }
  // What to wait for, as epoll has it.
  uint32_t wanted_events() const;
  // False as long as TLS is not agreed on.
  bool is_open() const { return session_ != nullptr; }

  // Goes on after an event; false when the connection is over.
  bool OnReady();
  // Sends what there is to send; false when the connection is over.
  bool Pump();

 private:
  bool Handshake();
  bool Read();
  bool Write();
  // False on an error that is not "try again".
  bool TryAgain(int result);
  bool Close(HttpSession::End how);

  const base::UniqueFd fd_;
  const SslPtr ssl_;
  const HttpSession::Handler handler_;
  std::unique_ptr<HttpSession> session_;
  std::string out_;
  size_t written_ = 0;  // of out_
  bool wants_write_ = false;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_CONNECTION_H_
