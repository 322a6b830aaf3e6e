// SPDX-License-Identifier: Apache-2.0
// The Event about the Node whose range of automatic ports has NodePorts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "testing/api_kubeconfig.h"
#include "testing/api_model.h"
#include "testing/api_server.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::node_advice_test {
namespace {

using ::testing::HasSubstr;

constexpr uint16_t kPort = 33589;  // within kAutomatic
constexpr const char* kAutomatic = "33000 60999";
constexpr const char* kBeside = "40000 60999";
constexpr absl::Duration kSoon = absl::Seconds(60);

class GuardNodeAdviceTest : public GuardTest {
 protected:
  void SetUp() override {
    GuardTest::SetUp();
    if (HasFatalFailure()) return;
    node().HurryGuards();
    NPG_ASSERT_OK_AND_ASSIGN(api_, ApiServer::Start());
    NPG_ASSERT_OK(WriteKubeconfig(*api_, node().File("kubeconfig")));
    api_->Change([](ApiModel& model) {
      model.Put({.ns = "shop", .name = "web", .ports = {{.name = "http", .node_port = kPort}}});
    });
  }

  // With a range of automatic ports.
  void StartFollowing(const char* range, std::vector<std::string> arguments = {}) {
    NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", range));
    arguments.insert(arguments.end(), {"--source", "kubernetes", "--node-name", "worker-1",
                                       "--kubeconfig", node().File("kubeconfig")});
    NPG_ASSERT_OK_AND_ASSIGN(guard_, GuardProcess::Start(node(), arguments));
    ASSERT_TRUE(WaitUntil(kSoon, [this] {
      const auto entry = maps().NodePort(kPort, Transport::kTcp);
      return entry.ok() && entry->has_value();
    })) << guard_->Log();
  }

  // Those about a kind of object, or about one.
  std::vector<nlohmann::json> EventsAbout(const std::string& kind, const std::string& name = "") {
    std::vector<nlohmann::json> about;
    for (const std::string& text : api_->Events()) {
      nlohmann::json event = nlohmann::json::parse(text);
      const nlohmann::json& regarding = event["regarding"];
      if (regarding["kind"] == kind && (name.empty() || regarding["name"] == name)) {
        about.push_back(std::move(event));
      }
    }
    return about;
  }

  // Makes conflicts, one after the other, and waits for their Events. The controller polls at
  // least twice for each: whatever was due has been sent by then.
  void WaitForOtherEvents() {
    for (uint16_t i = 0; i < 2; ++i) {
      const auto port = static_cast<uint16_t>(31000 + made_++);
      const std::string name = absl::StrCat("other-", port);
      NPG_ASSERT_OK_AND_ASSIGN(auto host, Host({{"127.0.0.1", port, Transport::kTcp}}));
      hosts_.push_back(std::move(host));
      api_->Change([&](ApiModel& model) {
        model.Put({.ns = "shop", .name = name, .ports = {{.node_port = port}}});
      });
      ASSERT_TRUE(WaitUntil(kSoon, [&] { return !EventsAbout("Service", name).empty(); }))
          << guard_->Log();
    }
  }

  std::unique_ptr<ApiServer> api_;
  std::vector<std::unique_ptr<EchoServer>> hosts_;
  uint16_t made_ = 0;
  std::optional<GuardProcess> guard_;
};

INSTANTIATE_TEST_SUITE_P(Rules, GuardNodeAdviceTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft, true, false}),
                         RuleShapeName);

TEST_P(GuardNodeAdviceTest, ComesOnceAlsoAfterARestart) {
  StartFollowing(kAutomatic);
  if (HasFatalFailure()) return;
  ASSERT_TRUE(WaitUntil(kSoon, [this] { return !EventsAbout("Node").empty(); })) << guard_->Log();
  const nlohmann::json event = EventsAbout("Node").at(0);
  EXPECT_EQ(event["metadata"]["namespace"], "default");
  EXPECT_EQ(event["regarding"]["name"], "worker-1");
  EXPECT_EQ(event["regarding"]["uid"], "worker-1");
  EXPECT_EQ(event["reason"], "NodePortRangeOverlap");
  EXPECT_EQ(event["type"], "Warning");
  EXPECT_THAT(event["note"].get<std::string>(), HasSubstr("Node worker-1: 1 NodePort"));
  EXPECT_THAT(event["note"].get<std::string>(), HasSubstr("33000-60999"));
  WaitForOtherEvents();
  if (HasFatalFailure()) return;
  EXPECT_EQ(EventsAbout("Node").size(), 1U);

  // The server has the Event before the controller has its answer.
  const dataplane::PinPaths pins(node().bpffs());
  ASSERT_TRUE(
      WaitUntil(kSoon, [&] { return dataplane::ReadAdviceSent(pins) > absl::InfinitePast(); }));
  NPG_ASSERT_OK(guard_->Kill());
  StartFollowing(kAutomatic);
  if (HasFatalFailure()) return;
  WaitForOtherEvents();
  if (HasFatalFailure()) return;
  EXPECT_EQ(EventsAbout("Node").size(), 1U);
}

TEST_P(GuardNodeAdviceTest, ARangeBesideTheNodePortsNeedsNone) {
  StartFollowing(kBeside);
  if (HasFatalFailure()) return;
  WaitForOtherEvents();
  if (HasFatalFailure()) return;
  EXPECT_TRUE(EventsAbout("Node").empty());
}

// What the Event advises has been done.
TEST_P(GuardNodeAdviceTest, AGuardThatReservesThePortsGivesNone) {
  StartFollowing(kAutomatic, {"--reserve-ports", "allocated"});
  if (HasFatalFailure()) return;
  WaitForOtherEvents();
  if (HasFatalFailure()) return;
  EXPECT_TRUE(EventsAbout("Node").empty());
}

}  // namespace
}  // namespace npg::testing::node_advice_test
