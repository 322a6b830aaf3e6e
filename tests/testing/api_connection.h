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
// blocks. The owner destroys it when a call returns false.
class ApiConnection {
 public:
  // `fd` is non-blocking; `ssl` uses it.
  ApiConnection(base::UniqueFd fd, SslPtr ssl, HttpSession::Handler handler)
      : fd_(std::move(fd)), ssl_(std::move(ssl)), handler_(std::move(handler)) {}

  int fd() const { return fd_.get(); }
  // The epoll events to wait for.
  uint32_t wanted_events() const;
  // False until the TLS handshake is complete.
  bool is_open() const { return session_ != nullptr; }

  // Continues after an event; returns false when the connection has ended.
  bool OnReady();
  // Sends pending data; returns false when the connection has ended.
  bool Pump();
  // As HttpSession::GoAway(), once TLS is established.
  void GoAway();

 private:
  bool Handshake();
  bool Read();
  bool Write();
  // Returns false on an error other than "try again".
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
