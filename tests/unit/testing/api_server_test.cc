// SPDX-License-Identifier: Apache-2.0
#include "testing/api_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "testing/api_model.h"
#include "testing/api_traffic.h"
#include "testing/status_asserts.h"
#include "unit/testing/test_client.h"

namespace npg::testing::api_server_test {
namespace {

using ::nlohmann::json;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kServices[] = "/api/v1/services";

ServiceSpec NodePort(const std::string& name, int64_t port) {
  return {.name = name, .ports = {{.node_port = port}}};
}

// The parameter is the version of HTTP.
class ApiServerTest : public ::testing::TestWithParam<long> {  // NOLINT(google-runtime-int)
 protected:
  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(server_, ApiServer::Start());
    client_ = std::make_unique<TestClient>(*server_, ClientOptions{.version = GetParam()});
    Put("first", 30001);
  }

  void Put(const std::string& name, int64_t port) {
    server_->Change([&](ApiModel& model) { model.Put(NodePort(name, port)); });
  }
  static bool Has(const std::unique_ptr<Transfer>& transfer, const std::string& text) {
    return absl::StrContains(transfer->body, text);
  }

  std::unique_ptr<ApiServer> server_;
  std::unique_ptr<TestClient> client_;
};

INSTANTIATE_TEST_SUITE_P(Http, ApiServerTest,
                         ::testing::Values(CURL_HTTP_VERSION_1_1, CURL_HTTP_VERSION_2_0),
                         [](const auto& version) {
                           return version.param == CURL_HTTP_VERSION_1_1 ? "http1" : "http2";
                         });

TEST_P(ApiServerTest, ListsTheModel) {
  const auto list = client_->Get(kServices);
  EXPECT_EQ(list->code(), 200);
  EXPECT_EQ(list->version(), GetParam());
  EXPECT_EQ(list->headers["content-type"], "application/json");
  server_->Change([&](ApiModel& model) { EXPECT_EQ(list->body, model.List({}).body); });
}

TEST_P(ApiServerTest, ListsMegabytes) {
  server_->Change([](ApiModel& model) {
    for (int i = 0; i < 10000; ++i) model.Put(NodePort(absl::StrCat("s", i), 30000 + i % 2768));
  });
  const auto list = client_->Get(kServices);
  EXPECT_EQ(list->result, CURLE_OK);
  EXPECT_EQ(json::parse(list->body)["items"].size(), 10001U);
  EXPECT_EQ(server_->traffic().requests[0].body_bytes, list->body.size());
}

TEST_P(ApiServerTest, WatchesReceiveEventsAtOnce) {
  const auto watch = client_->Start(absl::StrCat(kServices, "?watch=1"));
  ASSERT_TRUE(client_->WaitUntil([&] { return Has(watch, R"("first")"); }));
  for (int i = 0; i < 20; ++i) {
    const std::string name = absl::StrCat("next-", i);
    Put(name, 30002);
    ASSERT_TRUE(client_->WaitUntil([&] { return Has(watch, name); }));
  }
  EXPECT_FALSE(watch->done);
  EXPECT_EQ(server_->traffic().open_watches, 1);
}

TEST_P(ApiServerTest, ManyWatchesAtOnce) {
  std::vector<std::unique_ptr<Transfer>> watches;
  for (int i = 0; i < 40; ++i) {
    watches.push_back(client_->Start(absl::StrCat(kServices, "?watch=1&resourceVersion=2")));
  }
  ASSERT_TRUE(client_->WaitUntil([&] { return server_->traffic().open_watches == 40; }));
  Put("next", 30002);
  ASSERT_TRUE(client_->WaitUntil([&] {
    return std::all_of(watches.begin(), watches.end(),
                       [](const auto& watch) { return Has(watch, R"("next")"); });
  }));
  EXPECT_EQ(server_->traffic().connections, GetParam() == CURL_HTTP_VERSION_1_1 ? 40U : 1U);
  watches.clear();
  client_->Get(kServices);  // curl reports closed streams with its next request
  EXPECT_TRUE(
      server_->WaitUntil(absl::Seconds(10), [](const Traffic& t) { return t.open_watches == 0; }));
}

TEST_P(ApiServerTest, ConnectionIsKept) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client_->Get(kServices)->code(), 200);
  EXPECT_EQ(client_->Get(absl::StrCat(kServices, "?limit=x"))->code(), 400);
  EXPECT_EQ(client_->Get(absl::StrCat(kServices, "?watch=1&timeoutSeconds=1"))->result, CURLE_OK);
  EXPECT_EQ(server_->traffic().connections, 1U);
}

TEST_P(ApiServerTest, TimeoutSecondsEndsAWatch) {
  const absl::Time begin = absl::Now();
  const auto watch = client_->Get(absl::StrCat(kServices, "?watch=true&timeoutSeconds=1"));
  EXPECT_EQ(watch->result, CURLE_OK);
  EXPECT_GE(absl::Now() - begin, absl::Seconds(1));
  EXPECT_TRUE(
      server_->WaitUntil(absl::Seconds(10), [](const Traffic& t) { return t.requests[0].ended; }));
}

TEST_P(ApiServerTest, RecordsRequests) {
  client_->Get(absl::StrCat(kServices, "?limit=5&fieldSelector=spec.type!%3DClusterIP"));
  client_->Get(absl::StrCat(kServices, "?watch=1&resourceVersion=abc"));
  const Traffic traffic = server_->traffic();
  ASSERT_EQ(traffic.requests.size(), 2U);
  const RecordedRequest& list = traffic.requests[0];
  EXPECT_EQ(list.kind, RequestKind::kList);
  EXPECT_EQ(list.method, "GET");
  EXPECT_EQ(list.path, kServices);
  EXPECT_EQ(list.query, (ApiQuery{{"limit", "5"}, {"fieldSelector", "spec.type!=ClusterIP"}}));
  EXPECT_EQ(list.http_version, GetParam() == CURL_HTTP_VERSION_1_1 ? 1 : 2);
  EXPECT_EQ(list.authorization, "Bearer test-token");
  EXPECT_EQ(list.user_agent, "test/1");
  EXPECT_EQ(list.code, 200);
  EXPECT_LT(absl::Now() - list.time, absl::Minutes(1));
  EXPECT_EQ(traffic.requests[1].kind, RequestKind::kWatch);
  EXPECT_EQ(traffic.requests[1].code, 400);
  EXPECT_EQ(traffic.Count(RequestKind::kWatch), 1U);
  EXPECT_EQ(traffic.open_connections, 1);
}

TEST_P(ApiServerTest, Authenticates) {
  const auto code = [this](ClientOptions options) {
    options.version = GetParam();
    TestClient client(*server_, options);
    return client.Get(kServices)->code();
  };
  EXPECT_EQ(code({}), 200);
  EXPECT_EQ(code({.authorization = ""}), 401);
  EXPECT_EQ(code({.authorization = "Bearer other"}), 401);
  EXPECT_EQ(code({.authorization = "Basic test-token"}), 401);
  EXPECT_EQ(code({.authorization = "", .certificate_of = server_.get()}), 200);
  server_->AcceptClientCertificates(false);
  EXPECT_EQ(code({.authorization = "", .certificate_of = server_.get()}), 401);
  server_->AcceptTokens({"a", "b"});
  EXPECT_EQ(code({}), 401);
  EXPECT_EQ(code({.authorization = "Bearer b"}), 200);
}

// The server requests and accepts a foreign certificate, but does not trust it.
TEST_P(ApiServerTest, ForeignClientCertificateIs401) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto stranger, ApiServer::Start());
  TestClient client(*server_,
                    {.version = GetParam(), .authorization = "", .certificate_of = stranger.get()});
  EXPECT_EQ(client.Get(kServices)->code(), 401);
}

TEST_P(ApiServerTest, NamesForbiddenVerbs) {
  server_->Forbid("system:serviceaccount:x:y");
  auto refused = client_->Get(kServices);
  EXPECT_EQ(refused->code(), 403);
  EXPECT_EQ(json::parse(refused->body)["message"],
            "services is forbidden: User \"system:serviceaccount:x:y\" cannot list resource "
            "\"services\" in API group \"\" at the cluster scope");
  refused = client_->Get(absl::StrCat(kServices, "?watch=1"));
  EXPECT_EQ(refused->code(), 403);
  EXPECT_THAT(refused->body, HasSubstr("cannot watch resource"));
  server_->Forbid("");
  EXPECT_EQ(client_->Get(kServices)->code(), 200);
}

TEST_P(ApiServerTest, ServesServicesOnly) {
  EXPECT_EQ(client_->Get("/api/v1/pods")->code(), 404);
  EXPECT_EQ(client_->Get(kServices, absl::Seconds(20), "DELETE")->code(), 405);
}

TEST_P(ApiServerTest, BookmarksOnDemandAndByPeriod) {
  const auto watch = client_->Start(absl::StrCat(kServices, "?watch=1&allowWatchBookmarks=true"));
  const auto none = client_->Start(absl::StrCat(kServices, "?watch=1"));
  ASSERT_TRUE(
      client_->WaitUntil([&] { return Has(watch, R"("first")") && Has(none, R"("first")"); }));
  EXPECT_THAT(watch->body, Not(HasSubstr("BOOKMARK")));
  server_->SendBookmarks();
  ASSERT_TRUE(client_->WaitUntil([&] { return Has(watch, "BOOKMARK"); }));
  server_->Change([](ApiModel& model) { model.AdvanceTo(700); });
  server_->SetBookmarkPeriod(absl::Milliseconds(1));
  ASSERT_TRUE(client_->WaitUntil([&] { return Has(watch, R"("resourceVersion":"700")"); }));
  EXPECT_THAT(none->body, Not(HasSubstr("BOOKMARK")));
}

TEST_P(ApiServerTest, SendsArbitraryTextToWatches) {
  const auto watch = client_->Start(absl::StrCat(kServices, "?watch=1"));
  ASSERT_TRUE(client_->WaitUntil([&] { return Has(watch, R"("first")"); }));
  server_->SendToWatches("neither JSON nor a line");
  ASSERT_TRUE(client_->WaitUntil([&] { return Has(watch, "}\nneither JSON nor a line"); }));
}

TEST_P(ApiServerTest, WatchesEndCleanly) {
  const auto watch = client_->Start(absl::StrCat(kServices, "?watch=1"));
  ASSERT_TRUE(client_->WaitUntil([&] { return Has(watch, R"("first")"); }));
  server_->CloseWatches();
  ASSERT_TRUE(client_->WaitUntil([&] { return watch->done; }));
  EXPECT_EQ(watch->result, CURLE_OK);

  const auto restored = client_->Start(absl::StrCat(kServices, "?watch=1"));
  ASSERT_TRUE(client_->WaitUntil([&] { return Has(restored, R"("first")"); }));
  server_->Change([](ApiModel& model) { model.RestoreTo(1); });
  ASSERT_TRUE(client_->WaitUntil([&] { return restored->done; }));
  EXPECT_EQ(restored->result, CURLE_OK);

  server_->Change([](ApiModel& model) {
    model.AdvanceTo(10);
    model.Compact(10);
  });
  const auto expired = client_->Get(absl::StrCat(kServices, "?watch=1&resourceVersion=9"));
  EXPECT_EQ(expired->code(), 200);
  EXPECT_THAT(expired->body, HasSubstr("too old resource version: 9 (10)"));
  EXPECT_EQ(server_->traffic().connections, 1U);
}

TEST_P(ApiServerTest, VerifyingClientsRefuseAWrongCertificate) {
  const auto result = [this] {
    TestClient client(*server_, {.version = GetParam()});
    return client.Get(kServices)->result;
  };
  EXPECT_EQ(result(), CURLE_OK);
  for (const ServerCertificate wrong :
       {ServerCertificate::kOtherCa, ServerCertificate::kWrongName, ServerCertificate::kExpired}) {
    server_->UseCertificate(wrong);
    // curl reports the latter for a bad signature by a CA of the right name.
    EXPECT_THAT(result(), AnyOf(CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CONNECT_ERROR))
        << static_cast<int>(wrong);
  }
  server_->UseCertificate(ServerCertificate::kGood);
  EXPECT_EQ(result(), CURLE_OK);
  EXPECT_TRUE(server_->WaitUntil(absl::Seconds(10),
                                 [](const Traffic& t) { return t.requests.size() == 2; }));
}

TEST(ApiServerStart, Http1Only) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto server, ApiServer::Start({.http2 = false}));
  TestClient client(*server);
  const auto list = client.Get(kServices);
  EXPECT_EQ(list->code(), 200);
  EXPECT_EQ(list->version(), CURL_HTTP_VERSION_1_1);
}

TEST(ApiServerStart, EveryNameOfTheCertificate) {
  for (const char* address : {"127.0.0.1", "127.0.0.9", "::1"}) {
    NPG_ASSERT_OK_AND_ASSIGN(const auto server, ApiServer::Start({.address = address}));
    EXPECT_EQ(TestClient(*server).Get(kServices)->code(), 200) << server->url();
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto server, ApiServer::Start());
  const std::string by_name = absl::StrCat("https://localhost:", server->port());
  EXPECT_EQ(TestClient(*server, {.url = by_name}).Get(kServices)->code(), 200);
}

TEST(ApiServerStart, ReportsInvalidOptions) {
  EXPECT_EQ(ApiServer::Start({.address = "localhost"}).status().message(),
            "localhost is no IP address");
  NPG_ASSERT_OK_AND_ASSIGN(const auto server, ApiServer::Start());
  const auto second = ApiServer::Start({.port = server->port()});
  EXPECT_EQ(second.status().message(),
            absl::StrCat("bind to 127.0.0.1 port ", server->port(), ": Address already in use"));
}

}  // namespace
}  // namespace npg::testing::api_server_test
