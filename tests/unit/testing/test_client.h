// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_TESTS_UNIT_TESTING_TEST_CLIENT_H_
#define NODEPORT_GUARD_TESTS_UNIT_TESTING_TEST_CLIENT_H_

#include <curl/curl.h>

#include <map>
#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "testing/api_server.h"

namespace npg::testing {

// A request and the answer so far.
class Transfer {
 public:
  Transfer(CURLM* multi, CURL* easy, curl_slist* headers);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  std::string body;
  std::map<std::string, std::string> headers;  // of the answer; names in lower case
  bool done = false;
  CURLcode result = CURLE_OK;  // valid once done

  long code() const;     // NOLINT(google-runtime-int): curl's
  long version() const;  // NOLINT(google-runtime-int): CURL_HTTP_VERSION_...

 private:
  friend class TestClient;
  static size_t OnBody(char* data, size_t size, size_t count, void* self);
  static size_t OnHeader(char* data, size_t size, size_t count, void* self);

  CURLM* const multi_;
  CURL* const easy_;
  curl_slist* const request_headers_;
};

struct ClientOptions {
  long version = CURL_HTTP_VERSION_2TLS;  // NOLINT(google-runtime-int)
  std::string authorization = "Bearer test-token";
  const ApiServer* certificate_of = nullptr;  // sends the client certificate of this server
  std::string url = {};                       // that of the server if empty
};

// A libcurl client that verifies the server. It keeps connections between requests, and
// continues all transfers while it waits for one. It must outlive its transfers.
class TestClient {
 public:
  explicit TestClient(const ApiServer& server, ClientOptions options = {});
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  // Starts a request; `timeout` ends it with CURLE_OPERATION_TIMEDOUT.
  std::unique_ptr<Transfer> Start(const std::string& target,
                                  absl::Duration timeout = absl::Seconds(30),
                                  const std::string& method = "GET");
  // The same, and waits for its end.
  std::unique_ptr<Transfer> Get(const std::string& target,
                                absl::Duration timeout = absl::Seconds(30),
                                const std::string& method = "GET");
  // Continues all transfers until `condition` holds; returns false at `deadline`.
  bool WaitUntil(absl::FunctionRef<bool()> condition, absl::Duration deadline = absl::Seconds(20));

 private:
  const ClientOptions options_;
  const std::string url_, ca_, certificate_, key_;
  CURLM* const multi_;
};

}  // namespace npg::testing

#endif  // NODEPORT_GUARD_TESTS_UNIT_TESTING_TEST_CLIENT_H_
