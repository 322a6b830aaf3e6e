// SPDX-License-Identifier: Apache-2.0
#include "unit/testing/test_client.h"

#include <curl/curl.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "testing/api_server.h"

namespace npg::testing {
namespace {

// curl does not copy it: the text outlives the transfer.
void SetPem(CURL* easy, CURLoption option, const std::string& pem) {
  curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_NOCOPY};
  curl_easy_setopt(easy, option, &blob);
}

}  // namespace

Transfer::Transfer(CURLM* multi, CURL* easy, curl_slist* request_headers)
    : multi_(multi), easy_(easy), request_headers_(request_headers) {
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, request_headers_);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy_, CURLOPT_PRIVATE, this);
  curl_multi_add_handle(multi_, easy_);
}

Transfer::~Transfer() {
  curl_multi_remove_handle(multi_, easy_);
  curl_easy_cleanup(easy_);
  curl_slist_free_all(request_headers_);
}

size_t Transfer::OnBody(char* data, size_t size, size_t count, void* self) {
  static_cast<Transfer*>(self)->body.append(data, size * count);
  return size * count;
}

size_t Transfer::OnHeader(char* data, size_t size, size_t count, void* self) {
  const std::pair<absl::string_view, absl::string_view> header =
      absl::StrSplit(absl::string_view(data, size * count), absl::MaxSplits(':', 1));
  static_cast<Transfer*>(self)->headers[absl::AsciiStrToLower(header.first)] =
      std::string(absl::StripAsciiWhitespace(header.second));
  return size * count;
}

long Transfer::code() const {  // NOLINT(google-runtime-int)
  long code = 0;               // NOLINT(google-runtime-int)
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &code);
  return code;
}

long Transfer::version() const {  // NOLINT(google-runtime-int)
  long version = 0;               // NOLINT(google-runtime-int)
  curl_easy_getinfo(easy_, CURLINFO_HTTP_VERSION, &version);
  return version;
}

TestClient::TestClient(const ApiServer& server, ClientOptions options)
    : options_(std::move(options)),
      url_(options_.url.empty() ? server.url() : options_.url),
      ca_(server.ca_pem()),
      certificate_(options_.certificate_of == nullptr
                       ? ""
                       : options_.certificate_of->client_certificate_pem()),
      key_(options_.certificate_of == nullptr ? "" : options_.certificate_of->client_key_pem()),
      multi_(curl_multi_init()) {}

TestClient::~TestClient() { curl_multi_cleanup(multi_); }

std::unique_ptr<Transfer> TestClient::Start(const std::string& target, absl::Duration timeout,
                                            const std::string& method) {
  CURL* const easy = curl_easy_init();
  curl_easy_setopt(easy, CURLOPT_URL, (url_ + target).c_str());
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, options_.version);
  // With HTTP/2, concurrent requests share the connection.
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, options_.version == CURL_HTTP_VERSION_1_1 ? 0L : 1L);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "test/1");
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(timeout)));
  SetPem(easy, CURLOPT_CAINFO_BLOB, ca_);
  if (!certificate_.empty()) {
    SetPem(easy, CURLOPT_SSLCERT_BLOB, certificate_);
    SetPem(easy, CURLOPT_SSLKEY_BLOB, key_);
  }
  curl_slist* headers = nullptr;
  if (!options_.authorization.empty()) {
    headers =
        curl_slist_append(headers, absl::StrCat("Authorization: ", options_.authorization).c_str());
  }
  return std::make_unique<Transfer>(multi_, easy, headers);
}

std::unique_ptr<Transfer> TestClient::Get(const std::string& target, absl::Duration timeout,
                                          const std::string& method) {
  auto transfer = Start(target, timeout, method);
  EXPECT_TRUE(WaitUntil([&transfer] { return transfer->done; })) << target;
  return transfer;
}

bool TestClient::WaitUntil(absl::FunctionRef<bool()> condition, absl::Duration deadline) {
  const absl::Time end = absl::Now() + deadline;
  for (;;) {
    int running = 0;
    curl_multi_perform(multi_, &running);
    int left = 0;
    while (const CURLMsg* const message = curl_multi_info_read(multi_, &left)) {
      void* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      static_cast<Transfer*>(transfer)->done = true;
      static_cast<Transfer*>(transfer)->result = message->data.result;
    }
    if (condition()) return true;
    if (absl::Now() >= end) return false;
    // The condition may depend on the server, which does not wake this loop.
    curl_multi_poll(multi_, nullptr, 0, 5, nullptr);
  }
}

}  // namespace npg::testing
