// SPDX-License-Identifier: Apache-2.0
#include "serve/endpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "inspect/status.h"
#include "log/health.h"
#include "serve/http_server.h"
#include "serve/node_view.h"
#include "testing/http_exchange.h"
#include "testing/status_asserts.h"

namespace npg::serve::endpoints_test {
namespace {

using nlohmann::json;
using ::npg::testing::HttpGet;
using ::npg::testing::HttpReply;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class EndpointsTest : public ::testing::Test {
 protected:
  void StartServer() {
    endpoints_.health = std::make_shared<log::Health>();
    endpoints_.node = std::make_shared<NodeView>([this]() -> absl::StatusOr<inspect::Status> {
      ++gathered_;
      if (!works_) return absl::PermissionDeniedError("open /sys/fs/bpf: Permission denied");
      inspect::Status status;
      // Names of processes need not be UTF-8.
      status.notes = {"\xff"};
      return status;
    });
    auto server = HttpServer::Start({false, {127, 0, 0, 1}, 0}, MakeRoutes(endpoints_));
    NPG_ASSERT_OK(server);
    server_ = *std::move(server);
  }
  ~EndpointsTest() override { server_.reset(); }

  HttpReply Get(absl::string_view path, absl::string_view headers = "") const {
    return HttpGet(server_->address().port, path, headers);
  }
  void BeWell() {
    endpoints_.health->Update([](log::HealthState& state) {
      state.loop_turn = absl::Now();
      state.attached = absl::OkStatus();
      state.table = absl::OkStatus();
      state.probe = log::Probe{absl::Now(), absl::OkStatus(), absl::Microseconds(80)};
    });
  }

  Endpoints endpoints_;
  std::atomic<bool> works_ = true;
  std::atomic<int> gathered_ = 0;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(EndpointsTest, HealthListsItsChecks) {
  StartServer();
  endpoints_.health->Update(
      [](log::HealthState& state) { state.loop_turn = absl::Now() - absl::Minutes(1); });
  HttpReply reply = Get("/healthz");
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(reply.body, HasSubstr("FAIL main loop: "));
  EXPECT_EQ(Get("/readyz").status, 503);
  EXPECT_THAT(Get("/readyz").body, HasSubstr("FAIL programs: not attached yet\n"));
  BeWell();
  reply = Get("/healthz");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers["content-type"], "text/plain; charset=utf-8");
  EXPECT_THAT(reply.body, HasSubstr("ok   main loop: "));
  EXPECT_EQ(Get("/readyz").status, 200);
  EXPECT_EQ(gathered_, 0) << "health does not read the node";
}

TEST_F(EndpointsTest, HealthIsJsonOnRequest) {
  StartServer();
  BeWell();
  HttpReply reply = Get("/readyz", "Accept: application/json\r\n");
  EXPECT_EQ(reply.headers["content-type"], "application/json");
  EXPECT_EQ(json::parse(reply.body),
            json::parse(R"({"ok": true, "checks": ["ok   programs: attached",)"
                        R"( "ok   nft table: in place"]})"));
  endpoints_.health->Update([](log::HealthState& state) {
    state.attached = absl::FailedPreconditionError("npg_connect4 is not attached");
  });
  reply = Get("/readyz", "Accept: application/json\r\n");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(json::parse(reply.body)["ok"], false);
}

TEST_F(EndpointsTest, StatusIsTheDocument) {
  StartServer();
  HttpReply reply = Get("/api/v1/status");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers["content-type"], "application/json");
  EXPECT_THAT(reply.body, StartsWith("{\n  \"healthy\": true,\n  \"problems\": [],\n"));
  EXPECT_THAT(reply.body, EndsWith("  \"notes\": [\n    \"\xef\xbf\xbd\"\n  ]\n}\n"));
}

TEST_F(EndpointsTest, ReportsThatTheNodeCannotBeRead) {
  works_ = false;
  StartServer();
  const HttpReply reply = Get("/api/v1/status");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(json::parse(reply.body)["error"], "open /sys/fs/bpf: Permission denied");
  const HttpReply page = Get("/");
  EXPECT_EQ(page.status, 200) << "the page has the error";
  EXPECT_THAT(page.body, HasSubstr("open /sys/fs/bpf: Permission denied"));
}

TEST_F(EndpointsTest, ManyRequestsShareOneReading) {
  StartServer();
  const absl::Time before = absl::Now();
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(Get(i % 2 == 0 ? "/" : "/api/v1/status").status, 200);
  }
  const int64_t seconds = absl::ToInt64Seconds(absl::Now() - before);
  EXPECT_LE(gathered_, seconds + 2);
}

TEST_F(EndpointsTest, ThePageHasAContentSecurityPolicy) {
  StartServer();
  HttpReply reply = Get("/");
  EXPECT_EQ(reply.headers["content-type"], "text/html; charset=utf-8");
  EXPECT_THAT(reply.headers["content-security-policy"], HasSubstr("script-src 'sha256-"));
}

TEST_F(EndpointsTest, ServesMetricsOnlyIfConfigured) {
  StartServer();
  EXPECT_EQ(Get("/metrics").status, 404);
  server_.reset();
  endpoints_.metrics = [] { return std::string("up 1\n"); };
  StartServer();
  HttpReply reply = Get("/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "up 1\n");
  EXPECT_EQ(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
}

}  // namespace
}  // namespace npg::serve::endpoints_test
