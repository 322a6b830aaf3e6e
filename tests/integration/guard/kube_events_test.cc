// SPDX-License-Identifier: Apache-2.0
// The Kubernetes Events that report the conflicts of a node.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "testing/api_kubeconfig.h"
#include "testing/api_model.h"
#include "testing/api_server.h"
#include "testing/binder.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::kube_events_test {
namespace {

using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kPort = 33589;
constexpr absl::Duration kSoon = absl::Seconds(60);
const Dial kDial{"127.0.0.1", kPort, Transport::kTcp};

class GuardKubeEventsTest : public GuardTest {
 protected:
  void SetUp() override {
    GuardTest::SetUp();
    if (HasFatalFailure()) return;
    // The controller reports a conflict when it has seen it twice.
    node().HurryGuards();
    NPG_ASSERT_OK_AND_ASSIGN(api_, ApiServer::Start());
    NPG_ASSERT_OK(WriteKubeconfig(*api_, node().File("kubeconfig")));
    api_->Change([](ApiModel& model) {
      model.Put({.ns = "shop", .name = "web", .ports = {{.name = "http", .node_port = kPort}}});
    });
    NPG_ASSERT_OK(rules().Apply({{kPort, Transport::kTcp, GetParam().endpoint}}));
    NPG_ASSERT_OK_AND_ASSIGN(host_, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
    ASSERT_EQ(Ask(kDial), Hijacked());
  }

  void StartFollowing(std::vector<std::string> arguments = {}) {
    arguments.insert(arguments.end(), {"--source", "kubernetes", "--node-name", "worker-1",
                                       "--kubeconfig", node().File("kubeconfig")});
    NPG_ASSERT_OK_AND_ASSIGN(guard_, GuardProcess::Start(node(), arguments));
    ASSERT_TRUE(WaitUntil(kSoon, [this] {
      const auto entry = maps().NodePort(kPort, Transport::kTcp);
      return entry.ok() && entry->has_value();
    })) << guard_->Log();
  }

  // Waits until the server has answered that many changes of Events with `code`.
  bool WaitForAnswers(int code, size_t count = 1) {
    return api_->WaitUntil(kSoon,
                           [&](const Traffic& seen) { return Answers(seen, code) >= count; });
  }
  static size_t Answers(const Traffic& seen, int code) {
    return static_cast<size_t>(
        std::count_if(seen.requests.begin(), seen.requests.end(), [&](const auto& request) {
          return request.kind == RequestKind::kEvent && request.code == code;
        }));
  }
  // Makes another conflict and waits for its Event. By then the controller has sent
  // everything that was due before.
  void WaitForAnotherEvent() {
    constexpr uint16_t kOther = 33590;
    NPG_ASSERT_OK_AND_ASSIGN(other_, Host({{"127.0.0.1", kOther, Transport::kTcp}}));
    api_->Change([](ApiModel& model) {
      model.Put({.ns = "shop", .name = "other", .ports = {{.node_port = kOther}}});
    });
    ASSERT_TRUE(api_->WaitUntil(kSoon, [](const Traffic& seen) {
      return std::any_of(seen.requests.begin(), seen.requests.end(), [](const auto& request) {
        return request.kind == RequestKind::kEvent && absl::StrContains(request.body, "33590");
      });
    }));
  }

  // The names of the guard's threads.
  std::string Threads() const {
    return RunCommand({"sh", "-c", absl::StrCat("cat /proc/", guard_->pid(), "/task/*/comm")})
        .value_or("");
  }

  std::unique_ptr<ApiServer> api_;
  std::unique_ptr<EchoServer> host_, other_;
  std::optional<GuardProcess> guard_;
};

INSTANTIATE_TEST_SUITE_P(Rules, GuardKubeEventsTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft, true, false}),
                         RuleShapeName);

TEST_P(GuardKubeEventsTest, OneEventNamesNodeAndProcess) {
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitForAnswers(201)) << guard_->Log();
  EXPECT_EQ(Ask(kDial), kHost);
  EXPECT_THAT(Threads(), HasSubstr("kube-events"));
  WaitForAnotherEvent();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitForAnswers(201, 2));
  NPG_EXPECT_OK(guard_->Stop());

  std::vector<nlohmann::json> about;
  for (const std::string& text : api_->Events()) {
    const auto event = nlohmann::json::parse(text);
    if (event["regarding"]["name"] == "web") about.push_back(event);
  }
  ASSERT_EQ(about.size(), 1U);
  EXPECT_EQ(about[0]["regarding"]["namespace"], "shop");
  EXPECT_FALSE(about[0]["regarding"]["uid"].get<std::string>().empty());
  const std::string note = about[0]["note"];
  EXPECT_THAT(note, HasSubstr("Node worker-1: "));
  EXPECT_THAT(note, HasSubstr(absl::StrCat(OwnComm(), " (pid ", getpid())));
  EXPECT_THAT(note, HasSubstr("on 127.0.0.1 port 33589/tcp"));
}

TEST_P(GuardKubeEventsTest, ARestartSendsNoSecondEvent) {
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitForAnswers(201)) << guard_->Log();
  NPG_ASSERT_OK(guard_->Kill());
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitForAnswers(409)) << guard_->Log();
  EXPECT_EQ(api_->Events().size(), 1U);
}

TEST_P(GuardKubeEventsTest, LogsAMissingPermissionOnceAndKeepsWorking) {
  api_->ForbidEvents(true);
  StartFollowing({"--log-format", "json"});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitForAnswers(403)) << guard_->Log();
  EXPECT_EQ(Ask(kDial), kHost);
  EXPECT_TRUE(WaitUntil(kSoon, [&] { return absl::StrContains(guard_->Log(), "events.k8s.io"); }));
  EXPECT_EQ(Ask(kDial), kHost);
  NPG_EXPECT_OK(guard_->Stop());
  const std::string log = guard_->Log();
  const size_t first = log.find("Kubernetes Events are not sent");
  ASSERT_NE(first, std::string::npos) << log;
  EXPECT_EQ(log.find("Kubernetes Events", first + 1), std::string::npos) << log;
  EXPECT_EQ(Answers(api_->traffic(), 403), 1U);
  EXPECT_TRUE(api_->Events().empty());
}

// A server that accepts the request and never answers it blocks nothing else.
TEST_P(GuardKubeEventsTest, ASilentServerBlocksNothingElse) {
  api_->Inject({.on = RequestKind::kEvent, .count = -1, .never_answer = true});
  StartFollowing();
  if (HasFatalFailure()) return;
  ASSERT_TRUE(api_->WaitUntil(
      kSoon, [](const Traffic& seen) { return seen.Count(RequestKind::kEvent) > 0; }));
  api_->Change([](ApiModel& model) {
    model.Put({.ns = "shop", .name = "web", .ports = {{.name = "http", .node_port = 33999}}});
  });
  EXPECT_TRUE(WaitUntil(kSoon, [this] {
    const auto entry = maps().NodePort(33999, Transport::kTcp);
    return entry.ok() && entry->has_value();
  })) << guard_->Log();
  NPG_EXPECT_OK(guard_->Stop());
}

// A Service gets an Event about a process that tries to bind its NodePort.
TEST_P(GuardKubeEventsTest, OneEventAboutARefusedBind) {
  constexpr uint16_t kFree = 33700;
  api_->Change([](ApiModel& model) {
    model.Put({.ns = "shop", .name = "api", .ports = {{.name = "http", .node_port = kFree}}});
  });
  StartFollowing({"--bind-protection", "deny"});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitUntil(kSoon, [this] {
    const auto entry = maps().Refusable(kFree, Transport::kTcp);
    return entry.ok() && entry->has_value();
  })) << guard_->Log();
  const auto refused = AnyOf(Eq("EADDRINUSE"), Eq("EPERM"));  // by the kernel's version
  ASSERT_THAT(TryBind({.port = kFree}), refused);
  ASSERT_TRUE(WaitForAnswers(201, 2)) << guard_->Log();
  ASSERT_THAT(TryBind({.port = kFree}), refused);
  WaitForAnotherEvent();
  if (HasFatalFailure()) return;
  NPG_EXPECT_OK(guard_->Stop());

  std::vector<nlohmann::json> about;
  for (const std::string& text : api_->Events()) {
    const auto event = nlohmann::json::parse(text);
    if (event["regarding"]["name"] == "api") about.push_back(event);
  }
  ASSERT_EQ(about.size(), 1U);
  EXPECT_EQ(about[0]["reason"], "NodePortBindRefused");
  EXPECT_FALSE(about[0].contains("series")) << "one Event, and no repetition";
  EXPECT_THAT(about[0]["note"].get<std::string>(), HasSubstr("bind port 33700/tcp"));
}

TEST_P(GuardKubeEventsTest, OffSendsNothing) {
  StartFollowing({"--kube-events", "off"});
  if (HasFatalFailure()) return;
  EXPECT_EQ(Ask(kDial), kHost);
  EXPECT_THAT(Threads(), Not(HasSubstr("kube-events")));
  NPG_EXPECT_OK(guard_->Stop());
  EXPECT_EQ(api_->traffic().Count(RequestKind::kEvent), 0U);
}

}  // namespace
}  // namespace npg::testing::kube_events_test
