// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_API_TLS_H_
#define NODEPORT_GUARD_TESTS_TESTING_API_TLS_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "testing/tls_certificates.h"

namespace npg::testing {

// The certificate of a server.
enum class ServerCertificate {
  kGood,
  kOtherCa,    // of a CA with the same name and another key
  kWrongName,  // of "other.example" only
  kExpired,    // an hour ago
};

// The certificates of one API server, made anew each time.
class ApiTls {
 public:
  // `address`, an IP address, is a name of the server beside 127.0.0.1, ::1,
  // localhost and kubernetes.default.svc. Without `http2`, ALPN knows HTTP/1.1
  // only.
  static absl::StatusOr<ApiTls> Make(const std::string& address, bool http2);

  // The server side of a new connection on `fd`, which the caller keeps. nullptr only
  // if memory is exhausted.
  SslPtr Accept(ServerCertificate shown, int fd) const;

  // True if the client has a certificate of the server's CA.
  static bool ClientIsKnown(const SSL* ssl);
  // True if ALPN selected HTTP/2.
  static bool IsHttp2(const SSL* ssl);

  const std::string& ca_pem() const { return ca_pem_; }
  const std::string& client_certificate_pem() const { return client_certificate_pem_; }
  const std::string& client_key_pem() const { return client_key_pem_; }

 private:
  std::string ca_pem_, client_certificate_pem_, client_key_pem_;
  std::map<ServerCertificate, SslCtxPtr> contexts_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_API_TLS_H_
