// SPDX-License-Identifier: Apache-2.0
// A process may bind a port only to hold it and never accept a connection. The guard leads
// connects to it, unless --ignore-process names it, so its tools point at it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/unique_fd.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::accept_queue_test {
namespace {

using base::UniqueFd;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Arguments = std::vector<std::string>;
using Json = nlohmann::json;

constexpr uint16_t kPort = 33589;
constexpr uint16_t kServedPort = 33590;
constexpr int kClients = 10;

class GuardAcceptQueueTest : public GuardTest {
 protected:
  // The JSON that `command` prints.
  Json JsonOf(Arguments command) const {
    command.insert(command.end(), {"-o", "json"});
    const auto result = RunForResult(GuardCommand(node(), command));
    EXPECT_TRUE(result.ok() && result->exit_code == 0) << result.status();
    return result.ok() ? Json::parse(result->out, nullptr, false) : Json();
  }

  // The finding of `doctor` about listeners that do not accept.
  Json Finding() const {
    const Json doctor =
        JsonOf({"doctor", "--source", "file", "--nodeports-file", node().File("nodeports.json")});
    for (const Json& finding : doctor["findings"]) {
      if (finding["id"] == "listener-not-accepting") return finding;
    }
    ADD_FAILURE() << doctor;
    return {};
  }

  // Expects a status of two conflicts: `waiting` connections for the one on kPort, none for the
  // other, and returns it.
  Json StatusWith(int waiting) const {
    Json status;
    // The kernel queues a connection, and the server accepts one, shortly after its connect().
    EXPECT_TRUE(WaitUntil(kPatience, [&] {
      status = JsonOf({"status"});
      const Json& conflicts = status["conflicts"];
      return conflicts.size() == 2 && conflicts[0]["accept_queue"]["waiting"] == waiting &&
             conflicts[1]["accept_queue"]["waiting"] == 0;
    })) << status;
    return status;
  }
};

TEST_P(GuardAcceptQueueTest, PointsAtAListenerThatDoesNotAccept) {
  prctl(PR_SET_NAME, "holder");
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServedPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const UniqueFd holder, ListenOn("127.0.0.1", kPort));
  NPG_ASSERT_OK_AND_ASSIGN(const auto server, Host({{"127.0.0.1", kServedPort}}));
  EXPECT_THAT(StatusWith(0)["notes"].dump(), Not(HasSubstr("to be accepted")));
  EXPECT_EQ(Finding()["severity"], "ok");

  std::vector<UniqueFd> clients;
  for (int i = 0; i < kClients; ++i) {
    for (const uint16_t port : {kPort, kServedPort}) {
      NPG_ASSERT_OK_AND_ASSIGN(UniqueFd client, Connect({"127.0.0.1", port}));
      clients.push_back(std::move(client));
    }
  }
  const Json status = StatusWith(kClients);
  EXPECT_THAT(status["notes"].dump(),
              AllOf(HasSubstr("33589/tcp: holder["),
                    HasSubstr("10 connections wait to be accepted (backlog "),
                    HasSubstr("run with --ignore-process +holder"), Not(HasSubstr("33590/tcp"))));
  EXPECT_EQ(status["healthy"], true) << status["problems"];
  const Json finding = Finding();
  EXPECT_EQ(finding["severity"], "note");
  EXPECT_THAT(
      finding["what"].get<std::string>(),
      AllOf(HasSubstr("wait to be accepted by 1 listener on a NodePort: 33589/tcp 127.0.0.1"),
            HasSubstr("(run with --ignore-process +holder)"), Not(HasSubstr("33590"))));
  EXPECT_THAT(JsonOf({"explain", "33589/tcp"})["walks"][0]["sentence"].get<std::string>(),
              HasSubstr("run with --ignore-process +holder"));

  // With the flag, connects go to the Service.
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartGuard({"--ignore-process", "+holder"}));
  EXPECT_EQ(Ask({"127.0.0.1", kPort}), Hijacked());
  EXPECT_THAT(StatusWith(kClients)["notes"].dump(), Not(HasSubstr("to be accepted")));
  EXPECT_EQ(Finding()["severity"], "ok");
}

TEST_P(GuardAcceptQueueTest, TheLogNamesAListenerThatAcceptsNothing) {
  prctl(PR_SET_NAME, "holder");
  node().HurryGuards();
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kServedPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const UniqueFd holder, ListenOn("127.0.0.1", kPort));
  ASSERT_EQ(listen(holder.get(), 1), 0) << "so that two connections are all that it takes";
  NPG_ASSERT_OK_AND_ASSIGN(const auto server, Host({{"127.0.0.1", kServedPort}}));
  std::vector<UniqueFd> clients;
  for (const uint16_t port : {kPort, kPort, kServedPort}) {
    NPG_ASSERT_OK_AND_ASSIGN(UniqueFd client, Connect({"127.0.0.1", port}));
    clients.push_back(std::move(client));
  }
  // A connection waits after its client has closed it, too.
  clients.front().Reset();
  EXPECT_TRUE(WaitUntil(kPatience, [&] {
    return absl::StrContains(guard().Log(), "does not accept on 127.0.0.1 port 33589/tcp");
  })) << guard().Log();
  EXPECT_THAT(guard().Log(), AllOf(HasSubstr("holder["), HasSubstr("event=not_accepting"),
                                   HasSubstr("run with --ignore-process +holder"),
                                   Not(HasSubstr("does not accept on 127.0.0.1 port 33590/tcp"))));
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardAcceptQueueTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft}), RuleShapeName);

}  // namespace
}  // namespace npg::testing::accept_queue_test
