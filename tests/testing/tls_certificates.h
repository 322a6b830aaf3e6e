// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_TESTING_TLS_CERTIFICATES_H_
#define NODEPORT_GUARD_TESTS_TESTING_TLS_CERTIFICATES_H_

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace npg::testing {

template <auto kFree>
struct OpensslFree {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
using X509Ptr = std::unique_ptr<X509, OpensslFree<X509_free>>;
using EvpKeyPtr = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY_free>>;
using SslCtxPtr = std::unique_ptr<SSL_CTX, OpensslFree<SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, OpensslFree<SSL_free>>;

// INTERNAL with `what` and the last error of OpenSSL in this thread, which it removes
// from the queue.
absl::Status OpensslError(absl::string_view what);

// A certificate and its key, P-256.
struct Certificate {
  X509Ptr x509;
  EvpKeyPtr key;

  std::string CertificatePem() const;
  std::string KeyPem() const;
};

struct CertificateSpec {
  std::string common_name;
  std::string organization = {};
  // As in openssl.cnf: "IP:127.0.0.1,DNS:localhost".
  std::string alternative_names = {};
  // "serverAuth" or "clientAuth"; empty: a CA.
  std::string usage = {};
  absl::Time not_before = absl::Now() - absl::Hours(1);
  absl::Time not_after = absl::Now() + absl::Hours(24);
};

// Signed by `issuer`, or self-signed if that is nullptr.
absl::StatusOr<Certificate> MakeCertificate(const CertificateSpec& spec, const Certificate* issuer);

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_TESTING_TLS_CERTIFICATES_H_
