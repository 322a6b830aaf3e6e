// SPDX-License-Identifier: Apache-2.0
#include "testing/tls_certificates.h"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace npg::testing {
namespace {

using BioPtr = std::unique_ptr<BIO, OpensslFree<BIO_free>>;
using BignumPtr = std::unique_ptr<BIGNUM, OpensslFree<BN_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, OpensslFree<X509_EXTENSION_free>>;

std::string BioText(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);  // NOLINT(google-runtime-int)
  return {data, static_cast<size_t>(size)};
}

bool SetSerial(X509* x509) {
  const BignumPtr number(BN_new());
  return number != nullptr &&
         BN_rand(number.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x509)) != nullptr;
}

bool AddName(X509_NAME* name, const char* field, const std::string& value) {
  if (value.empty()) return true;
  // OpenSSL passes text as unsigned char.
  const auto* const text = reinterpret_cast<const unsigned char*>(value.c_str());
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, text, -1, -1, 0) == 1;
}

bool SetTime(ASN1_TIME* field, absl::Time time) {
  return ASN1_TIME_set(field, absl::ToTimeT(time)) != nullptr;
}

bool AddExtension(X509* x509, X509* issuer, int nid, const std::string& value) {
  if (value.empty()) return true;
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, x509, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(x509, extension.get(), -1) == 1;
}

bool Fill(const CertificateSpec& spec, const Certificate& issuer, const Certificate& into) {
  X509* const x509 = into.x509.get();
  X509_NAME* const name = X509_get_subject_name(x509);
  const bool ca = spec.usage.empty();
  return X509_set_version(x509, X509_VERSION_3) == 1 && SetSerial(x509) &&
         SetTime(X509_getm_notBefore(x509), spec.not_before) &&
         SetTime(X509_getm_notAfter(x509), spec.not_after) &&
         AddName(name, "O", spec.organization) && AddName(name, "CN", spec.common_name) &&
         X509_set_pubkey(x509, into.key.get()) == 1 &&
         X509_set_issuer_name(x509, X509_get_subject_name(issuer.x509.get())) == 1 &&
         AddExtension(x509, issuer.x509.get(), NID_basic_constraints,
                      ca ? "critical,CA:TRUE" : "critical,CA:FALSE") &&
         AddExtension(x509, issuer.x509.get(), NID_key_usage,
                      ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature") &&
         AddExtension(x509, issuer.x509.get(), NID_ext_key_usage, spec.usage) &&
         AddExtension(x509, issuer.x509.get(), NID_subject_key_identifier, "hash") &&
         AddExtension(x509, issuer.x509.get(), NID_subject_alt_name, spec.alternative_names);
}

}  // namespace

absl::Status OpensslError(absl::string_view what) {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return absl::InternalError(absl::StrCat(what, ": ", text.data()));
}

std::string Certificate::CertificatePem() const {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), x509.get());
  return BioText(bio.get());
}

std::string Certificate::KeyPem() const {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return BioText(bio.get());
}

absl::StatusOr<Certificate> MakeCertificate(const CertificateSpec& spec,
                                            const Certificate* issuer) {
  Certificate made{X509Ptr(X509_new()), EvpKeyPtr(EVP_EC_gen("P-256"))};
  const Certificate& signer = issuer == nullptr ? made : *issuer;
  if (made.x509 == nullptr || made.key == nullptr || !Fill(spec, signer, made) ||
      X509_sign(made.x509.get(), signer.key.get(), EVP_sha256()) == 0) {
    return OpensslError(absl::StrCat("make the certificate of ", spec.common_name));
  }
  return made;
}

}  // namespace npg::testing
