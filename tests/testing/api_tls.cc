// SPDX-License-Identifier: Apache-2.0
#include "testing/api_tls.h"

#include <openssl/ssl.h>
#include <openssl/tls1.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "testing/tls_certificates.h"

namespace npg::testing {
namespace {

using AlpnList = const unsigned char;

// Protocol names in the format of ALPN, each after its length.
constexpr absl::string_view kHttp2 = "\x02h2";
constexpr absl::string_view kHttp1 = "\x08http/1.1";

int ChooseProtocol(absl::string_view ours, AlpnList** chosen, unsigned char* length,
                   AlpnList* offered, unsigned int size) {
  unsigned char* found = nullptr;
  const auto* const list = reinterpret_cast<AlpnList*>(ours.data());
  if (SSL_select_next_proto(&found, length, list, static_cast<unsigned int>(ours.size()), offered,
                            size) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

int ChooseHttp1(SSL* /*ssl*/, AlpnList** chosen, unsigned char* length, AlpnList* offered,
                unsigned int size, void* /*unused*/) {
  return ChooseProtocol(kHttp1, chosen, length, offered, size);
}

int ChooseAny(SSL* /*ssl*/, AlpnList** chosen, unsigned char* length, AlpnList* offered,
              unsigned int size, void* /*unused*/) {
  static constexpr absl::string_view kBoth = "\x02h2\x08http/1.1";
  return ChooseProtocol(kBoth, chosen, length, offered, size);
}

absl::StatusOr<SslCtxPtr> MakeContext(const Certificate& server, const Certificate& ca,
                                      bool http2) {
  SslCtxPtr context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr || SSL_CTX_use_certificate(context.get(), server.x509.get()) != 1 ||
      SSL_CTX_use_PrivateKey(context.get(), server.key.get()) != 1 ||
      X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), ca.x509.get()) != 1) {
    return OpensslError("prepare TLS");
  }
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // As an API server does: requests a certificate, accepts any in the handshake, and
  // answers 401 if it does not trust it.
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER,
                     [](int /*good*/, X509_STORE_CTX* /*store*/) { return 1; });
  SSL_CTX_set_alpn_select_cb(context.get(), http2 ? ChooseAny : ChooseHttp1, nullptr);
  return context;
}

CertificateSpec ServerSpec(const std::string& address) {
  std::string names =
      "IP:127.0.0.1,IP:::1,DNS:localhost,DNS:kubernetes.default.svc,DNS:kubernetes.default";
  if (address != "127.0.0.1" && address != "::1") absl::StrAppend(&names, ",IP:", address);
  return {.common_name = "kube-apiserver", .alternative_names = names, .usage = "serverAuth"};
}

}  // namespace

absl::StatusOr<ApiTls> ApiTls::Make(const std::string& address, bool http2) {
  const CertificateSpec ca_spec{.common_name = "kubernetes-ca"};
  const CertificateSpec good = ServerSpec(address);
  CertificateSpec wrong_name = good;
  wrong_name.alternative_names = "DNS:other.example";
  CertificateSpec expired = good;
  expired.not_before = absl::Now() - absl::Hours(48);
  expired.not_after = absl::Now() - absl::Hours(1);

  auto ca = MakeCertificate(ca_spec, nullptr);
  if (!ca.ok()) return ca.status();
  auto other_ca = MakeCertificate(ca_spec, nullptr);
  if (!other_ca.ok()) return other_ca.status();
  auto client = MakeCertificate(
      {.common_name = "test-client", .organization = "test-group", .usage = "clientAuth"}, &*ca);
  if (!client.ok()) return client.status();

  ApiTls tls;
  tls.ca_pem_ = ca->CertificatePem();
  tls.client_certificate_pem_ = client->CertificatePem();
  tls.client_key_pem_ = client->KeyPem();
  const auto add = [&](ServerCertificate kind, const CertificateSpec& spec,
                       const Certificate& issuer) -> absl::Status {
    auto server = MakeCertificate(spec, &issuer);
    if (!server.ok()) return server.status();
    auto context = MakeContext(*server, *ca, http2);
    if (!context.ok()) return context.status();
    tls.contexts_[kind] = *std::move(context);
    return absl::OkStatus();
  };
  absl::Status status = add(ServerCertificate::kGood, good, *ca);
  status.Update(add(ServerCertificate::kOtherCa, good, *other_ca));
  status.Update(add(ServerCertificate::kWrongName, wrong_name, *ca));
  status.Update(add(ServerCertificate::kExpired, expired, *ca));
  if (!status.ok()) return status;
  return tls;
}

SslPtr ApiTls::Accept(ServerCertificate shown, int fd) const {
  SslPtr ssl(SSL_new(contexts_.at(shown).get()));
  if (ssl == nullptr || SSL_set_fd(ssl.get(), fd) != 1) return nullptr;
  SSL_set_accept_state(ssl.get());
  return ssl;
}

bool ApiTls::ClientIsKnown(const SSL* ssl) {
  return SSL_get0_peer_certificate(ssl) != nullptr && SSL_get_verify_result(ssl) == X509_V_OK;
}

bool ApiTls::IsHttp2(const SSL* ssl) {
  AlpnList* protocol = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl, &protocol, &size);
  return absl::string_view(reinterpret_cast<const char*>(protocol), size) == kHttp2.substr(1);
}

}  // namespace npg::testing
