// SPDX-License-Identifier: Apache-2.0
// --ignore-process and --only-process, for sockets that are bound while the guard runs
// and for sockets that were bound before.
#include <gtest/gtest.h>
#include <sys/prctl.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/command.h"
#include "testing/datagram_client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::owner_policy_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint16_t kOtherPort = 33590;

using Arguments = std::vector<std::string>;
const Arguments& Nothing() {
  static const auto* const kNothing = new Arguments();
  return *kNothing;
}

class GuardOwnerPolicyTest : public GuardTest {
 protected:
  // A listener that counts as bound by a process of this name: the call renames the thread,
  // whose name the kernel reports at bind() and in /proc.
  static absl::StatusOr<std::unique_ptr<EchoServer>> ListenerOf(const char* name,
                                                                uint16_t port = kPort) {
    prctl(PR_SET_NAME, name);
    return Host({{"127.0.0.1", port, Transport::kMptcp}, {"127.0.0.1", port, Transport::kUdp}});
  }

  // Expects `answer` over TCP, connected UDP and unconnected UDP.
  static void Expect(const std::string& answer, uint16_t port = kPort) {
    EXPECT_EQ(Ask({"127.0.0.1", port, Transport::kTcp}), answer);
    EXPECT_EQ(Ask({"127.0.0.1", port, Transport::kUdp}), answer);
    EXPECT_EQ(AskByDatagram("127.0.0.1", port), answer);
  }

  absl::Status Restart(const Arguments& arguments) {
    NPG_RETURN_IF_ERROR(guard().Stop());
    return StartGuard(arguments);
  }

  // The JSON that `command` prints.
  nlohmann::json JsonOf(Arguments command) const {
    command.insert(command.end(), {"-o", "json"});
    const auto result = RunForResult(GuardCommand(node(), command));
    EXPECT_TRUE(result.ok() && result->exit_code == 0) << result.status();
    return result.ok() ? nlohmann::json::parse(result->out, nullptr, false) : nlohmann::json();
  }
  std::string RuleThatDecided() const {
    return JsonOf({"explain", "33589/tcp"})["walks"][0]["rows"][5]["fact"];
  }
};

// Before Kubernetes 1.24 kube-proxy bound each NodePort, to keep other processes from
// binding it, and read nothing from the socket.
TEST_P(GuardOwnerPolicyTest, IgnoresThePortHolderOfOldKubeProxy) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  {
    NPG_ASSERT_OK_AND_ASSIGN(const auto before, ListenerOf("kube-proxy"));
    NPG_ASSERT_OK(StartGuard());
    Expect(Hijacked());
    EXPECT_EQ(Counted(NPG_COUNTER_IGNORED_OWNER), 2U);
    EXPECT_EQ(RuleThatDecided(), "ignored: --ignore-process names kube-proxy");
    EXPECT_EQ(JsonOf({"status"})["conflicts"][0]["verdict"], "ignored");
  }
  // Even the first connect after the bind ignores it.
  for (int round = 0; round < 10; ++round) {
    NPG_ASSERT_OK_AND_ASSIGN(const auto after, ListenerOf("kube-proxy"));
    NPG_ASSERT_OK_AND_ASSIGN(const auto socket, Connect({"127.0.0.1", kPort, Transport::kUdp}));
    EXPECT_EQ(MarkOf(socket.get()), 0U);
  }
  EXPECT_EQ(Counted(NPG_COUNTER_IGNORED_OWNER), 10U);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  // The same port, another process.
  NPG_ASSERT_OK_AND_ASSIGN(const auto victim, ListenerOf("containerd"));
  EXPECT_TRUE(
      WaitUntil(absl::Seconds(10), [] { return AskByDatagram("127.0.0.1", kPort) == kHost; }));
  Expect(kHost);
  EXPECT_EQ(RuleThatDecided(),
            "guarded: --guard-uid names 0, --ignore-process does not name containerd");
}

TEST_P(GuardOwnerPolicyTest, GuardsOnlyNamedProcesses) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort, kOtherPort})));
  NPG_ASSERT_OK_AND_ASSIGN(const auto before, ListenerOf("containerd"));
  NPG_ASSERT_OK(StartGuard({"--only-process", "containerd", "--only-process", "cri-dockerd"}));
  NPG_ASSERT_OK_AND_ASSIGN(auto other, ListenerOf("agent", kOtherPort));
  Expect(kHost);
  Expect(Hijacked(), kOtherPort);
  EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 2U);
  EXPECT_EQ(Counted(NPG_COUNTER_IGNORED_OWNER), 2U);
  EXPECT_EQ(RuleThatDecided(), "guarded: --guard-uid names 0, --only-process names containerd");
  other.reset();
  NPG_ASSERT_OK_AND_ASSIGN(const auto after, ListenerOf("cri-dockerd", kOtherPort));
  EXPECT_TRUE(
      WaitUntil(absl::Seconds(10), [] { return AskByDatagram("127.0.0.1", kOtherPort) == kHost; }));
  Expect(kHost, kOtherPort);
}

// Each policy meets a listener that was bound under the policy before.
TEST_P(GuardOwnerPolicyTest, AppliesAChangedPolicyToExistingListeners) {
  const std::vector<std::pair<Arguments, bool>> policies = {
      {{"--ignore-process", "agent"}, false},    {Nothing(), true},
      {{"--only-process", "containerd"}, false}, {{"--only-process", "agent"}, true},
      {{"--only-process", "containerd"}, false}, {{"--ignore-process", "containerd"}, true},
      {{"--ignore-process", ""}, true},          {{"--ignore-process", "agent"}, false},
      {{"--only-process", "agent"}, true},
  };
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard());
  NPG_ASSERT_OK_AND_ASSIGN(const auto agent, ListenerOf("agent"));
  EXPECT_TRUE(
      WaitUntil(absl::Seconds(10), [] { return AskByDatagram("127.0.0.1", kPort) == kHost; }));
  Expect(kHost);
  for (const auto& [arguments, guarded] : policies) {
    SCOPED_TRACE(arguments.empty() ? "default" : arguments[0] + " " + arguments[1]);
    NPG_ASSERT_OK(Restart(arguments));
    Expect(guarded ? kHost : Hijacked());
  }
}

// A thread may have its own name. At bind() the program sees only the name of the thread;
// the controller corrects the record by the name of the process, which operators configure.
TEST_P(GuardOwnerPolicyTest, BoundByAThreadWithAnotherName) {
  prctl(PR_SET_NAME, "agent");
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartGuard({"--only-process", "agent"}));
  absl::StatusOr<std::unique_ptr<EchoServer>> listener = absl::UnknownError("not started");
  std::thread([&] {
    prctl(PR_SET_NAME, "worker");
    listener = Host({{"127.0.0.1", kPort, Transport::kTcp}, {"127.0.0.1", kPort, Transport::kUdp}});
  }).join();
  NPG_ASSERT_OK(listener);
  const auto corrected = [] {
    return Ask({"127.0.0.1", kPort, Transport::kTcp}) == kHost &&
           AskByDatagram("127.0.0.1", kPort) == kHost;
  };
  EXPECT_TRUE(WaitUntil(absl::Seconds(10), corrected));
  Expect(kHost);
  NPG_ASSERT_OK(Restart({"--only-process", "agent"}));
  Expect(kHost);
}

// The listener is older than the guard and than its NodePort.
TEST_P(GuardOwnerPolicyTest, JudgesAListenerWhenItsPortBecomesANodePort) {
  NPG_ASSERT_OK(Allocate({}));
  NPG_ASSERT_OK_AND_ASSIGN(const auto agent, ListenerOf("agent"));
  for (const auto& [arguments, guarded] :
       std::vector<std::pair<Arguments, bool>>{{Nothing(), true},
                                               {{"--ignore-process", "agent"}, false},
                                               {{"--only-process", "agent"}, true},
                                               {{"--only-process", "containerd"}, false}}) {
    SCOPED_TRACE(arguments.empty() ? "default" : arguments[0] + " " + arguments[1]);
    NPG_ASSERT_OK(Allocate({}));
    NPG_ASSERT_OK(StartGuard(arguments));
    NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
    const std::string answer = guarded ? kHost : Hijacked();
    // The controller exempts datagrams shortly after it learns of the port.
    EXPECT_TRUE(
        WaitUntil(absl::Seconds(10), [&] { return AskByDatagram("127.0.0.1", kPort) == answer; }));
    Expect(answer);
    NPG_ASSERT_OK(Unload());
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardOwnerPolicyTest,
                         ::testing::Values(RuleShape{IptablesVariant::kNft, true},
                                           RuleShape{IptablesVariant::kLegacy, false}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::owner_policy_test
