// SPDX-License-Identifier: Apache-2.0
// The log lines of real connects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::exemption_log_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr uint16_t kPort = 33589;
constexpr uint16_t kOtherPort = 33590;
constexpr absl::Duration kSoon = absl::Seconds(30);

class GuardExemptionLogTest : public GuardTest {
 protected:
  // The lines of the log that contain `what`.
  std::vector<std::string> Lines(const std::string& what) {
    std::vector<std::string> lines;
    for (const auto line : absl::StrSplit(guard().Log(), '\n')) {
      if (absl::StrContains(line, what)) lines.emplace_back(line);
    }
    return lines;
  }
};

INSTANTIATE_TEST_SUITE_P(Rules, GuardExemptionLogTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft, true, false}),
                         RuleShapeName);

TEST_P(GuardExemptionLogTest, OneLineNamesClientAndListener) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                                  {"127.0.0.1", kOtherPort, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kOtherPort})));
  ASSERT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), Hijacked());
  node().HurryGuards();
  NPG_ASSERT_OK(StartGuard({"--log-format", "json"}));
  // Another reader of the ring buffer consumes none of its records.
  NPG_ASSERT_OK_AND_ASSIGN(auto events, ChildProcess::Start(GuardCommand(node(), {"events"})));
  ASSERT_TRUE(WaitUntil(kSoon, [&] { return absl::StrContains(events.Err(), "waiting for"); }));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), kHost);
  // The lines are in order: once the second conflict is logged, the first one is complete.
  EXPECT_EQ(Ask({"127.0.0.1", kOtherPort, Transport::kTcp}), kHost);
  ASSERT_TRUE(WaitUntil(kSoon, [&] { return !Lines("\"port\":33590").empty(); })) << guard().Log();
  EXPECT_TRUE(WaitUntil(kSoon, [&] { return absl::StrContains(events.Out(), "33590/tcp"); }));
  EXPECT_TRUE(absl::StrContains(events.Out(), "33589/tcp"));
  NPG_EXPECT_OK(guard().Stop());

  const auto lines = Lines("\"port\":33589");
  ASSERT_EQ(lines.size(), 1U) << guard().Log();
  const auto line = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(line["event"], "exempted");
  EXPECT_EQ(line["protocol"], "tcp");
  EXPECT_EQ(line["address"], "127.0.0.1");
  EXPECT_EQ(line["client_pid"], getpid());
  EXPECT_EQ(line["client_comm"], OwnComm());
  EXPECT_EQ(line["listener_address"], "127.0.0.1");
  EXPECT_EQ(line["listener_pid"], getpid());
  EXPECT_EQ(line["listener_comm"], OwnComm());
  EXPECT_THAT(line["message"].get<std::string>(), HasSubstr("exempted a connect of "));
  for (const auto text : absl::StrSplit(guard().Log(), '\n', absl::SkipEmpty())) {
    const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object() && json.contains("message")) << text;
  }
}

// `events` follows the guard, not one controller.
TEST_P(GuardExemptionLogTest, EventsKeepsRunningWhenTheControllerEnds) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                                  {"127.0.0.1", kOtherPort, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kOtherPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(auto events, ChildProcess::Start(GuardCommand(node(), {"events"})));
  const auto logs = [&](const std::string& what) {
    return WaitUntil(kSoon, [&] { return absl::StrContains(events.Err(), what); });
  };
  const auto shows = [&](const std::string& what) {
    return WaitUntil(kSoon, [&] { return absl::StrContains(events.Out(), what); });
  };
  ASSERT_TRUE(logs("waiting for"));

  // The same maps, by other pins.
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard());
  EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), kHost);
  EXPECT_TRUE(shows("33589/tcp")) << events.Err();
  EXPECT_THAT(events.Err(), Not(HasSubstr("anew")));

  // Other maps, which `events` finds in the place of the first.
  events.Signal(SIGSTOP);
  NPG_ASSERT_OK(Unload());
  NPG_ASSERT_OK(StartGuard());
  events.Signal(SIGCONT);
  ASSERT_TRUE(logs("the guard was loaded with a new event buffer")) << events.Err();
  EXPECT_EQ(Ask({"127.0.0.1", kOtherPort, Transport::kTcp}), kHost);
  EXPECT_TRUE(shows("33590/tcp")) << events.Err();

  NPG_ASSERT_OK(Unload());
  NPG_ASSERT_OK_AND_ASSIGN(const CommandResult result, events.Wait());
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("the guard was unloaded"));
}

TEST_P(GuardExemptionLogTest, ObserveModeLogsWhatItWouldHaveExempted) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp}}));
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--mode", "observe"}));
  EXPECT_EQ(Ask({"127.0.0.1", kPort, Transport::kTcp}), Hijacked());
  ASSERT_TRUE(WaitUntil(kSoon, [&] { return !Lines("would have exempted a connect").empty(); }))
      << guard().Log();
  EXPECT_THAT(Lines("would have exempted a connect")[0],
              HasSubstr(absl::StrCat(" event=observed port=33589 protocol=tcp address=127.0.0.1 "
                                     "client_pid=",
                                     getpid(), " client_comm=", OwnComm(), " ")));
  NPG_EXPECT_OK(guard().Stop());
  EXPECT_TRUE(Lines("info  exempted").empty()) << guard().Log();
}

}  // namespace
}  // namespace npg::testing::exemption_log_test
