// SPDX-License-Identifier: Apache-2.0
// Kubernetes Events, posted with TLS and a token to an API server that validates them as a
// real one does.
#include "serve/kube_event_poster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "inspect/status.h"
#include "kubernetes/cluster_access.h"
#include "log/log.h"
#include "serve/node_view.h"
#include "testing/api_model.h"
#include "testing/api_server.h"
#include "testing/status_asserts.h"

namespace npg::serve::kube_event_poster_test {
namespace {

using testing::ApiModel;
using testing::ApiServer;
using ::testing::HasSubstr;
using testing::RecordedRequest;
using testing::RequestKind;
using testing::Traffic;

constexpr absl::Duration kSoon = absl::Seconds(60);

inspect::GuardedConflict ConflictOf(const std::string& service, uint16_t port) {
  inspect::GuardedConflict conflict;
  conflict.key = {port, core::Protocol::kTcp};
  conflict.service = service;
  conflict.listener.owner.pid = 812;
  conflict.listener.owner.comm = "containerd";
  return conflict;
}

// The parameter: whether the server speaks HTTP/2.
class KubeEventPosterTest : public ::testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    for (const char* name : {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
      unsetenv(name);
    }
  }

  void SetUp() override {
    NPG_ASSERT_OK_AND_ASSIGN(server_, ApiServer::Start({.http2 = GetParam()}));
    server_->Change([](ApiModel& model) {
      model.Put({.ns = "shop", .name = "web", .ports = {{.node_port = 33589}}});
    });
    access_.server = server_->url();
    access_.ca.data = server_->ca_pem();
    access_.token = server_->token();
    access_.origin = "a test";
    options_.poll = absl::Milliseconds(2);
    options_.events.reporter.node = "worker-1";
    options_.events.backoff_first = absl::Milliseconds(1);
    options_.events.backoff_max = absl::Milliseconds(10);
  }

  void Start() {
    NPG_ASSERT_OK_AND_ASSIGN(poster_, KubeEventPoster::Start(access_, view_, options_));
  }

  // Waits until the server has answered `count` requests with `code`.
  bool WaitForAnswers(RequestKind kind, int code, size_t count = 1) {
    return server_->WaitUntil(kSoon, [&](const Traffic& seen) {
      return static_cast<size_t>(std::count_if(
                 seen.requests.begin(), seen.requests.end(), [&](const RecordedRequest& request) {
                   return request.kind == kind && request.code == code && request.ended;
                 })) >= count;
    });
  }
  // The requests and their status codes, for messages.
  std::string Dialogue() const {
    std::string text;
    for (const RecordedRequest& request : server_->traffic().requests) {
      absl::StrAppend(&text, request.method, " ", request.target, ": ", request.code, "\n");
    }
    return text;
  }
  // Waits until the node has been read `polls` more times.
  void WaitForPolls(int polls) {
    const int until = polls_ + polls;
    const absl::Time deadline = absl::Now() + kSoon;
    while (polls_ < until && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(1));
    ASSERT_GE(polls_, until);
  }

  std::unique_ptr<ApiServer> server_;
  kubernetes::ClusterAccess access_;
  KubeEventPoster::Options options_;
  std::vector<inspect::GuardedConflict> conflicts_ = {ConflictOf("shop/web", 33589)};
  std::atomic<int> polls_ = 0;
  NodeView view_{[this]() -> absl::StatusOr<inspect::Status> {
    ++polls_;
    inspect::Status status;
    status.conflicts = conflicts_;
    return status;
  }};
  std::unique_ptr<KubeEventPoster> poster_;
};

TEST_P(KubeEventPosterTest, PostsOneEventForTheService) {
  Start();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 201));
  WaitForPolls(20);
  poster_.reset();
  const auto events = server_->Events();
  ASSERT_EQ(events.size(), 1U);
  const auto event = nlohmann::json::parse(events[0]);
  EXPECT_THAT(event["note"].get<std::string>(), HasSubstr("worker-1: containerd (pid 812)"));
  // `kubectl describe service` selects Events by this uid.
  EXPECT_EQ(event["regarding"]["uid"], "00000000-0000-4000-8000-000000000002");
  const auto requests = server_->traffic().requests;
  EXPECT_EQ(std::count_if(requests.begin(), requests.end(),
                          [](const auto& r) { return r.kind == RequestKind::kEvent; }),
            1);
  for (const RecordedRequest& request : requests) {
    EXPECT_EQ(request.authorization, "Bearer test-token");
    EXPECT_EQ(request.http_version, GetParam() ? 2 : 1);
  }
}

// As a kubeconfig that is being written at the start, or later.
TEST_P(KubeEventPosterTest, WaitsForItsAccess) {
  options_.events.pause = absl::Milliseconds(5);  // after six attempts
  std::atomic<bool> there = false;
  std::atomic<int> calls = 0;
  const auto load = [&]() -> absl::StatusOr<kubernetes::ClusterAccess> {
    if (there) return access_;
    if (calls++ == 0) return absl::InvalidArgumentError("kubeconfig /k: is empty");
    return absl::NotFoundError("kubeconfig /k: No such file");
  };
  NPG_ASSERT_OK_AND_ASSIGN(poster_, KubeEventPoster::Start(load, view_, options_));
  WaitForPolls(10);
  EXPECT_EQ(server_->traffic().connections, 0U);
  there = true;
  EXPECT_TRUE(WaitForAnswers(RequestKind::kEvent, 201)) << Dialogue();
  poster_.reset();  // it calls `load`
}

TEST_P(KubeEventPosterTest, ARestartFindsTheExistingEvent) {
  Start();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 201));
  poster_.reset();
  Start();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 409));
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 200));
  WaitForPolls(5);
  EXPECT_EQ(poster_->counts().suppressed, 1U);
  EXPECT_EQ(poster_->counts().failed, 0U);
  EXPECT_EQ(server_->Events().size(), 1U);
}

TEST_P(KubeEventPosterTest, PatchesTheEventOfALastingConflict) {
  options_.events.silence = absl::Milliseconds(1);
  Start();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 200, 2));
  poster_.reset();
  const auto events = server_->Events();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_GE(nlohmann::json::parse(events[0])["series"]["count"], 3);
}

TEST_P(KubeEventPosterTest, ARestartContinuesTheCount) {
  const auto count = [this] {
    return nlohmann::json::parse(server_->Events().at(0))["series"]["count"].get<uint64_t>();
  };
  options_.events.silence = absl::Milliseconds(1);
  Start();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 200, 50));
  poster_.reset();
  const uint64_t before = count();
  ASSERT_GE(before, 50U);
  const auto patched = static_cast<size_t>(before);  // the first run made no read
  Start();
  // The second run reads the count, and then sends its first patch.
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 200, patched + 1));
  poster_.reset();
  EXPECT_GT(count(), before);
  EXPECT_EQ(server_->Events().size(), 1U);
}

TEST_P(KubeEventPosterTest, LogsAMissingPermissionOnceUntilItIsGranted) {
  options_.events.pause = absl::Milliseconds(5);
  server_->ForbidEvents(true);
  NPG_ASSERT_OK(log::SetUpLog("info", log::LogFormat::kText));
  ::testing::internal::CaptureStderr();
  Start();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 403, 5));
  server_->ForbidEvents(false);
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 201));
  WaitForPolls(5);
  EXPECT_GE(poster_->counts().failed, 5U);
  EXPECT_EQ(poster_->counts().created, 1U);
  poster_.reset();
  const std::vector<std::string> lines =
      absl::StrSplit(::testing::internal::GetCapturedStderr(), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2U) << ::testing::PrintToString(lines);
  EXPECT_THAT(lines[0], HasSubstr("verbs [\"create\", \"patch\"]"));
  EXPECT_THAT(lines[1], HasSubstr("the right is there now"));
}

TEST_P(KubeEventPosterTest, RetriesAfterFailuresOfTheServer) {
  for (const int code : {500, 429, 503}) {
    server_->Inject({.on = RequestKind::kEvent, .answer = testing::FaultAnswer(code)});
  }
  server_->Inject({.on = RequestKind::kEvent, .close_before = true});
  server_->Inject({.on = RequestKind::kOfOne, .answer = testing::HtmlAnswer()});
  Start();
  // The connection broke after the server had created the Event: that is no suppression.
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 409)) << Dialogue();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 200)) << Dialogue();
  WaitForPolls(5);
  EXPECT_EQ(server_->Events().size(), 1U);
  EXPECT_EQ(poster_->counts().created, 1U);
  EXPECT_EQ(poster_->counts().suppressed, 0U);
}

TEST_P(KubeEventPosterTest, ReadsItsTokenForEachRequest) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/kube-event-token.", getpid());
  const auto write = [&path](const std::string& token) { std::ofstream(path) << token; };
  write("yesterday");
  access_.token_file = path;
  access_.token.clear();
  options_.events.pause = absl::Milliseconds(5);
  Start();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kOfOne, 401));
  write(server_->token());
  EXPECT_TRUE(WaitForAnswers(RequestKind::kEvent, 201));
  poster_.reset();
  std::filesystem::remove(path);
}

TEST_P(KubeEventPosterTest, UsesAClientCertificate) {
  access_.token.clear();
  access_.client_certificate.data = server_->client_certificate_pem();
  access_.client_key.data = server_->client_key_pem();
  Start();
  EXPECT_TRUE(WaitForAnswers(RequestKind::kEvent, 201));
}

TEST_P(KubeEventPosterTest, TrustsNoOtherServer) {
  server_->UseCertificate(testing::ServerCertificate::kWrongName);
  Start();
  ASSERT_TRUE(server_->WaitUntil(kSoon, [](const Traffic& seen) { return seen.connections >= 2; }));
  poster_.reset();
  EXPECT_TRUE(server_->traffic().requests.empty());
}

TEST_P(KubeEventPosterTest, SendsOneEventAboutTheNodeAndThoseOfServices) {
  std::atomic<int> remembered = 0;
  options_.advice = [](const inspect::Status&) { return "12 NodePorts are among them."; };
  options_.node_advice.node = "worker-1";
  options_.node_advice.last_sent = [] { return absl::InfinitePast(); };
  options_.node_advice.sent = [&remembered](absl::Time) { ++remembered; };
  Start();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 201, 2)) << Dialogue();
  WaitForPolls(20);
  poster_.reset();
  EXPECT_EQ(remembered, 1);
  const auto events = server_->Events();
  ASSERT_EQ(events.size(), 2U);
  const auto node = nlohmann::json::parse(events[0]);  // in namespace default
  EXPECT_EQ(node["regarding"]["kind"], "Node");
  EXPECT_EQ(node["note"], "Node worker-1: 12 NodePorts are among them.");
  EXPECT_EQ(nlohmann::json::parse(events[1])["regarding"]["name"], "web");
}

TEST_P(KubeEventPosterTest, AdviceThatIsRefusedIsLoggedOnce) {
  conflicts_.clear();
  options_.advice = [](const inspect::Status&) { return "12 NodePorts are among them."; };
  options_.node_advice.node = "worker-1";
  options_.node_advice.last_sent = [] { return absl::InfinitePast(); };
  options_.node_advice.sent = [](absl::Time) {};
  options_.node_advice.pause = absl::Milliseconds(5);
  server_->ForbidEvents(true);
  NPG_ASSERT_OK(log::SetUpLog("info", log::LogFormat::kText));
  ::testing::internal::CaptureStderr();
  Start();
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 403, 5));
  server_->ForbidEvents(false);
  ASSERT_TRUE(WaitForAnswers(RequestKind::kEvent, 201));
  WaitForPolls(5);
  poster_.reset();
  const std::vector<std::string> lines =
      absl::StrSplit(::testing::internal::GetCapturedStderr(), '\n', absl::SkipEmpty());
  ASSERT_EQ(lines.size(), 2U) << ::testing::PrintToString(lines);
  EXPECT_THAT(lines[0], HasSubstr("Kubernetes Events are not sent"));
  EXPECT_THAT(lines[1], HasSubstr("the right is there now"));
}

TEST_P(KubeEventPosterTest, EndsWhileAServerIsSilent) {
  server_->Inject({.on = RequestKind::kEvent, .never_answer = true});
  Start();
  ASSERT_TRUE(server_->WaitUntil(
      kSoon, [](const Traffic& seen) { return seen.Count(RequestKind::kEvent) >= 1; }));
  poster_.reset();
  EXPECT_EQ(server_->traffic().Count(RequestKind::kEvent), 1U);
}

std::string HttpName(const ::testing::TestParamInfo<bool>& info) {
  return info.param ? "Http2" : "Http1";
}

INSTANTIATE_TEST_SUITE_P(Http, KubeEventPosterTest, ::testing::Bool(), HttpName);

}  // namespace
}  // namespace npg::serve::kube_event_poster_test
