// SPDX-License-Identifier: Apache-2.0
#include "testing/api_connection.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "testing/api_tls.h"
#include "testing/http_session.h"

namespace npg::testing {
namespace {

// Produces no faster than the client reads, so that few bytes are unsent.
constexpr size_t kMaxUnsent = 262144;

}  // namespace

uint32_t ApiConnection::wanted_events() const {
  return EPOLLIN | EPOLLRDHUP | (wants_write_ ? static_cast<uint32_t>(EPOLLOUT) : 0U);
}

bool ApiConnection::TryAgain(int result) {
  const int error = SSL_get_error(ssl_.get(), result);
  wants_write_ = wants_write_ || error == SSL_ERROR_WANT_WRITE;
  return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ;
}

bool ApiConnection::OnReady() {
  if (session_ == nullptr && !Handshake()) return false;
  if (session_ == nullptr) return true;
  return Read() && Pump();
}

bool ApiConnection::Handshake() {
  ERR_clear_error();
  wants_write_ = false;
  const int result = SSL_do_handshake(ssl_.get());
  if (result != 1) return TryAgain(result);
  const bool known = ApiTls::ClientIsKnown(ssl_.get());
  session_ = ApiTls::IsHttp2(ssl_.get()) ? MakeHttp2Session(handler_, known)
                                         : MakeHttp1Session(handler_, known);
  return true;
}

bool ApiConnection::Read() {
  std::array<char, 16384> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init)
  for (;;) {
    ERR_clear_error();
    const int size = SSL_read(ssl_.get(), buffer.data(), static_cast<int>(buffer.size()));
    if (size <= 0) return TryAgain(size);
    if (!session_->Receive({buffer.data(), static_cast<size_t>(size)})) return false;
  }
}

bool ApiConnection::Pump() {
  if (session_ == nullptr) return true;
  for (;;) {
    session_->Produce(kMaxUnsent, out_);
    if (out_.empty()) return session_->end() == HttpSession::End::kOpen || Close(session_->end());
    if (!Write()) return false;
    if (!out_.empty()) return true;
  }
}

void ApiConnection::GoAway() {
  if (session_ != nullptr) session_->GoAway();
}

bool ApiConnection::Write() {
  wants_write_ = false;
  while (written_ < out_.size()) {
    ERR_clear_error();
    const int size =
        SSL_write(ssl_.get(), out_.data() + written_, static_cast<int>(out_.size() - written_));
    if (size <= 0) return TryAgain(size);
    written_ += static_cast<size_t>(size);
  }
  out_.clear();
  written_ = 0;
  return true;
}

// Always returns false: the connection has ended.
bool ApiConnection::Close(HttpSession::End how) {
  if (how == HttpSession::End::kClose) SSL_shutdown(ssl_.get());
  if (how == HttpSession::End::kReset) {
    // With a linger time of zero, close() sends a reset.
    const linger none{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &none, sizeof(none));
  }
  return false;
}

}  // namespace npg::testing
