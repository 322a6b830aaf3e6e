// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "telemetry/http_message.h"

namespace npg::telemetry {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// The request, which has to be one.
HttpRequest Parse(absl::string_view head) {
  std::variant<HttpRequest, HttpResponse> parsed = ParseHttpHead(head);
  if (const auto* refused = std::get_if<HttpResponse>(&parsed)) {
    ADD_FAILURE() << head << "is refused: " << *refused->body;
    return {};
  }
  return std::get<HttpRequest>(parsed);
}

// The status of the refusal; 200 for a request.
int Refusal(absl::string_view head) {
  const std::variant<HttpRequest, HttpResponse> parsed = ParseHttpHead(head);
  const auto* refused = std::get_if<HttpResponse>(&parsed);
  return refused == nullptr ? 200 : refused->status;
}

int RefusalOfHeaders(absl::string_view headers) {
  return Refusal(absl::StrCat("GET / HTTP/1.1\r\nHost: localhost\r\n", headers, "\r\n"));
}

TEST(HttpMessageTest, ReadsARequest) {
  const HttpRequest request = Parse(
      "GET /api/v1/status?pretty HTTP/1.1\r\nHost: [::1]:9829\r\n"
      "accept: text/html;q=0.1, application/JSON;q=0.9\r\n\r\n");
  EXPECT_EQ(request.path, "/api/v1/status");
  EXPECT_EQ(request.host, "::1");
  EXPECT_FALSE(request.head);
  EXPECT_TRUE(request.keep_alive);
  EXPECT_TRUE(request.wants_json);
  const HttpRequest head = Parse("HEAD / HTTP/1.1\r\nHost: a:1\r\nConnection: x, Close\r\n\r\n");
  EXPECT_TRUE(head.head);
  EXPECT_FALSE(head.keep_alive);
  EXPECT_FALSE(head.wants_json);
  EXPECT_EQ(head.host, "a");
  EXPECT_FALSE(Parse("GET / HTTP/1.0\r\n\r\n").keep_alive);
  EXPECT_TRUE(Parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
  EXPECT_FALSE(Parse("GET / HTTP/1.0\r\nAccept: application/json;q=0\r\n\r\n").wants_json);
  EXPECT_FALSE(Parse("GET / HTTP/1.0\r\nAccept: */*\r\n\r\n").wants_json);
}

TEST(HttpMessageTest, RefusesWhatIsNoRequest) {
  for (const absl::string_view head :
       {"\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
        "GET / FTP/1.1\r\nHost: a\r\n\r\n", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"}) {
    EXPECT_EQ(Refusal(head), 400) << head;
  }
  EXPECT_EQ(Refusal(absl::string_view("GET /\0 HTTP/1.0\r\n\r\n", 20)), 400);
  for (const absl::string_view headers :
       {"Host: b\r\n", "no colon\r\n", " folded: x\r\n", "A : b\r\n", ": b\r\n", "A: \x01\r\n",
        "A: b\n\r\n", "A: b\rC: d\r\n"}) {
    EXPECT_EQ(RefusalOfHeaders(headers), 400) << headers;
  }
  EXPECT_EQ(RefusalOfHeaders("A: b\r\n"), 200);
  EXPECT_EQ(Refusal("PRI * HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(Refusal("GET / HTTP/0.9\r\n\r\n"), 505);
}

TEST(HttpMessageTest, RefusesBodiesAndMethods) {
  EXPECT_EQ(RefusalOfHeaders("Content-Length: 0\r\n"), 200);
  EXPECT_EQ(RefusalOfHeaders("Content-Length: 1\r\n"), 413);
  EXPECT_EQ(RefusalOfHeaders("Content-Length: 0\r\ncontent-length: 9\r\n"), 413);
  EXPECT_EQ(RefusalOfHeaders("Content-Length: -0\r\n"), 413);
  EXPECT_EQ(RefusalOfHeaders("Transfer-Encoding: chunked\r\n"), 413);
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "CONNECT"}) {
    EXPECT_EQ(Refusal(absl::StrCat(method, " / HTTP/1.1\r\nHost: a\r\n\r\n")), 405) << method;
  }
}

TEST(HttpMessageTest, RefusesManyHeaders) {
  std::string headers;
  for (int i = 0; i < 63; ++i) absl::StrAppend(&headers, "A: b\r\n");
  EXPECT_EQ(RefusalOfHeaders(headers), 200);
  EXPECT_EQ(RefusalOfHeaders(headers + "A: b\r\n"), 431);
}

TEST(HttpMessageTest, WritesAHead) {
  HttpResponse response = TextResponse(405, "no");
  response.allow = "GET, HEAD";
  const std::string head = HttpHead(response, false, absl::FromUnixSeconds(1'793'620'800));
  EXPECT_THAT(head, StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"
                               "Date: Mon, 02 Nov 2026 12:00:00 GMT\r\n"
                               "Content-Type: text/plain; charset=utf-8\r\n"
                               "Content-Length: 3\r\n"));
  for (const char* part :
       {"\r\nAllow: GET, HEAD\r\n", "\r\nX-Content-Type-Options: nosniff\r\n",
        "\r\nCache-Control: no-store\r\n", "\r\nContent-Security-Policy: default-src 'none'; "}) {
    EXPECT_THAT(head, HasSubstr(part));
  }
  EXPECT_THAT(head, EndsWith("\r\nConnection: close\r\n\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("Retry-After")));
  EXPECT_THAT(HttpHead({}, true, absl::Now()), EndsWith("\r\nConnection: keep-alive\r\n\r\n"));
}

TEST(HttpMessageTest, TrustsAddressesAndLocalhost) {
  for (const char* host : {"", "localhost", "LocalHost", "127.0.0.1", "10.0.0.5", "::1"}) {
    EXPECT_TRUE(IsTrustedHost(host)) << host;
  }
  for (const char* host :
       {"attacker.example", "localhost.attacker.example", "127.0.0.1.nip.io", "127.0.0.1 ", "1"}) {
    EXPECT_FALSE(IsTrustedHost(host)) << host;
  }
}

}  // namespace
}  // namespace npg::telemetry
