// SPDX-License-Identifier: Apache-2.0
// --bind-protection: which binds of an allocated NodePort are reported or refused, and which are
// never touched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "guard_abi.h"
#include "testing/bind_fixture.h"
#include "testing/binder.h"
#include "testing/command.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::bind_protection_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr uint16_t kPort = 33589;
constexpr uint16_t kOtherPort = 33590;
constexpr const char* kBound = "bound";

// A Service with one NodePort; `target` is its targetPort.
Json Service(const std::string& name, uint16_t node_port, const Json& target) {
  return {{"metadata", {{"name", name}, {"namespace", "default"}}},
          {"spec",
           {{"type", "NodePort"},
            {"selector", {{"app", name}}},
            {"ipFamilies", {"IPv4"}},
            {"ports",
             {{{"name", "http"},
               {"port", 80},
               {"protocol", "TCP"},
               {"nodePort", node_port},
               {"targetPort", target}}}}}}};
}

std::string ReservedPorts() {
  std::ifstream file("/proc/sys/net/ipv4/ip_local_reserved_ports");
  return {std::istreambuf_iterator<char>(file), {}};
}

class GuardBindProtectionTest : public BindProtectionTest {
 protected:
  void ExpectRefused(const BindCall& call) {
    EXPECT_EQ(TryBind(call), RefusalErrno()) << ToString(call);
    EXPECT_EQ(Counted(NPG_COUNTER_BIND_REFUSED), 1U) << ToString(call);
    EXPECT_EQ(Counted(NPG_COUNTER_BIND_SPARED), 0U) << ToString(call);
  }
  // It is none of its business.
  void ExpectPassed(const BindCall& call) { ExpectBound(call, 0); }
  void ExpectSpared(const BindCall& call) { ExpectBound(call, 1); }

  absl::Status WriteServices(const std::vector<Json>& services) {
    return WriteText(
        Json{{"kind", "ServiceList"}, {"apiVersion", "v1"}, {"items", services}}.dump());
  }
  // The pattern for the cgroup of this process.
  std::string OwnCgroup() const {
    return "/" + std::filesystem::path(node().cgroup().path()).filename().string();
  }

 private:
  void ExpectBound(const BindCall& call, uint64_t spared) {
    EXPECT_EQ(TryBind(call), kBound) << ToString(call);
    EXPECT_EQ(Counted(NPG_COUNTER_BIND_SPARED), spared) << ToString(call);
    EXPECT_EQ(Counted(NPG_COUNTER_BIND_REFUSED), 0U) << ToString(call);
    EXPECT_EQ(Counted(NPG_COUNTER_BIND_WARNED), 0U) << ToString(call);
  }
};

TEST_P(GuardBindProtectionTest, Warns) {
  NPG_ASSERT_OK(WriteServices({Service("web", kPort, 8080)}));
  NPG_ASSERT_OK(StartProtection("warn"));
  ASSERT_TRUE(IsRefusable(kPort));
  EXPECT_EQ(TryBind({.port = kPort}), kBound);
  EXPECT_EQ(TryBind({.address = "127.0.0.1", .port = kPort, .nobody = true}), kBound);
  EXPECT_EQ(Counted(NPG_COUNTER_BIND_WARNED), 2U);
  EXPECT_EQ(Counted(NPG_COUNTER_BIND_REFUSED), 0U);
  NPG_ASSERT_OK_AND_ASSIGN(const auto stats, maps().BindStats(kPort, Transport::kTcp));
  ASSERT_TRUE(stats.has_value());
  EXPECT_EQ(stats->warned, 2U);
  EXPECT_EQ(stats->refused, 0U);
  EXPECT_EQ(stats->binder.uid, kNobodyUid);
  EXPECT_TRUE(WaitUntil(kPatience, [this] {
    return absl::StrContains(guard().Log(),
                             "bound 127.0.0.1:33589, the NodePort 33589/tcp of "
                             "default/web");
  })) << guard().Log();
  EXPECT_THAT(guard().Log(), HasSubstr("bind-test["));
  EXPECT_THAT(guard().Log(), HasSubstr("bound 0.0.0.0:33589, the NodePort 33589/tcp"));
  EXPECT_THAT(guard().Log(), HasSubstr("(uid 65534"));
}

TEST_P(GuardBindProtectionTest, RefusesWhereBothCollide) {
  NPG_ASSERT_OK(WritePorts({kPort}, {kPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  for (const Transport transport : Transports()) {
    for (const char* address : {"0.0.0.0", "127.0.0.1", "127.8.9.10", "::", "::ffff:0.0.0.0",
                                "::ffff:127.0.0.1", kNodeAddress}) {
      ExpectRefused({.address = address, .port = kPort, .transport = transport});
      ExpectRefused({.address = address, .port = kPort, .transport = transport, .nobody = true});
    }
  }
  EXPECT_TRUE(WaitUntil(kPatience, [this] {
    return absl::StrContains(guard().Log(), absl::StrCat("was refused 0.0.0.0:33589 (",
                                                         RefusalErrno(), "), the NodePort"));
  })) << guard().Log();
  NPG_ASSERT_OK_AND_ASSIGN(const auto stats, maps().BindStats(kPort, Transport::kUdp));
  ASSERT_TRUE(stats.has_value());
  EXPECT_EQ(stats->refused, 14U);
}

TEST_P(GuardBindProtectionTest, LeavesOtherBindsAlone) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  ASSERT_TRUE(IsRefusable(kPort));
  ExpectPassed({.address = "::1", .port = kPort});
  ExpectPassed({.port = kOtherPort});
  ExpectPassed({.port = kPort, .transport = Transport::kUdp});
  ExpectPassed({.port = kPort, .device = "lo"});
  for (int i = 0; i < 20; ++i) ExpectPassed({.port = 0});
  ExpectRefused({.port = kPort});
}

TEST_P(GuardBindProtectionTest, LeavesTheKernelsChoiceAlone) {
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "33000 42999"));
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  EXPECT_THAT(ReservedPorts(), HasSubstr(absl::StrCat(kPort)));
  for (int i = 0; i < 50; ++i) {
    NPG_ASSERT_OK_AND_ASSIGN(const auto socket, OpenSocket(AF_INET, Transport::kTcp));
    ASSERT_EQ(listen(socket.get(), 1), 0) << "without bind()";
    EXPECT_NE(LocalPort(socket.get()), kPort);
  }
  EXPECT_EQ(Counted(NPG_COUNTER_BIND_REFUSED), 0U);
}

TEST_P(GuardBindProtectionTest, DoesNothingWhenOff) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("off"));
  ExpectPassed({.port = kPort});
  EXPECT_EQ(ReservedPorts(), "\n");
}

TEST_P(GuardBindProtectionTest, SparesAllowedUsers) {
  NPG_ASSERT_OK(WritePorts({kPort}, {kPort}));
  NPG_ASSERT_OK(StartProtection("deny", {"--bind-allow-uid", absl::StrCat(kNobodyUid)}));
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    ExpectSpared({.port = kPort, .transport = transport, .nobody = true});
    ExpectRefused({.port = kPort, .transport = transport});
  }
}

TEST_P(GuardBindProtectionTest, SparesAllowedCgroups) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string allowed, node().cgroup().MakeChild("allowed-1"));
  NPG_ASSERT_OK_AND_ASSIGN(const std::string other, node().cgroup().MakeChild("other"));
  NPG_ASSERT_OK(StartProtection("deny", {"--bind-allow-cgroup", OwnCgroup() + "/allowed-*"}));
  ExpectSpared({.port = kPort, .cgroup = allowed});
  ExpectRefused({.port = kPort, .cgroup = other});
  ExpectRefused({.port = kPort});
  // One that is made while the guard runs.
  NPG_ASSERT_OK_AND_ASSIGN(const std::string later, node().cgroup().MakeChild("allowed-2"));
  EXPECT_TRUE(
      WaitUntil(kPatience, [&] { return TryBind({.port = kPort, .cgroup = later}) == kBound; }));
}

TEST_P(GuardBindProtectionTest, SparesAllowedProcesses) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("deny", {"--bind-allow-process", "ingress"}));
  ExpectSpared({.port = kPort, .comm = "ingress"});
  ExpectRefused({.port = kPort, .comm = "ingress2"});
}

// It is in --ignore-process by default.
TEST_P(GuardBindProtectionTest, SparesKubeProxy) {
  NPG_ASSERT_OK(WritePorts({kPort}, {kPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    ExpectSpared({.port = kPort, .transport = transport, .comm = "kube-proxy"});
  }
  ExpectRefused({.port = kPort});
}

// kube-proxy before Kubernetes 1.24 held each NodePort. That makes no other process of root one
// that had the port first.
TEST_P(GuardBindProtectionTest, TakesAPortHolderForNoFirstHolder) {
  NPG_ASSERT_OK(WritePorts({}));
  NPG_ASSERT_OK(StartProtection("deny"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto held,
                           HoldBind({.address = "127.0.0.1", .port = kPort, .comm = "kube-proxy"}));
  NPG_ASSERT_OK(WritePorts({kPort}));
  ASSERT_TRUE(BecomesRefusable(kPort));
  ExpectRefused({.address = kNodeAddress, .port = kPort, .comm = "other"});
  EXPECT_FALSE(IsFirstHolder(kPort, 0));
}

// A backend with hostNetwork binds its targetPort on the node.
TEST_P(GuardBindProtectionTest, NeverRefusesABackendOfTheService) {
  constexpr uint16_t kSame = 33591, kNamed = 33592, kWithout = 33593;
  Json without = Service("without", kWithout, 8080);
  without["spec"].erase("selector");
  NPG_ASSERT_OK(WriteServices({Service("same", kSame, kSame), Service("named", kNamed, "http"),
                               without, Service("other", kPort, 8080)}));
  NPG_ASSERT_OK(StartProtection("deny"));
  for (const uint16_t port : {kSame, kNamed, kWithout}) ExpectPassed({.port = port});
  ExpectRefused({.port = kPort});

  // The Service changes.
  NPG_ASSERT_OK(WriteServices({Service("same", kSame, 8080), Service("other", kPort, kPort)}));
  ASSERT_TRUE(BecomesRefusable(kSame));
  ASSERT_TRUE(BecomesRefusable(kPort, false));
  ExpectRefused({.port = kSame});
  ExpectPassed({.port = kPort});
}

TEST_P(GuardBindProtectionTest, LeavesOtherNamespacesAlone) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  NPG_ASSERT_OK(node().pod().Run([] {
    const std::string answer = TryBind({.port = kPort});
    return answer == kBound ? absl::OkStatus() : absl::InternalError(answer);
  }));
  EXPECT_EQ(Counted(NPG_COUNTER_BIND_REFUSED), 0U);
  ExpectRefused({.port = kPort});
}

TEST_P(GuardBindProtectionTest, OutlivesTheControllerUntilUnload) {
  NPG_ASSERT_OK(WritePorts({}));
  NPG_ASSERT_OK(StartProtection("deny"));
  NPG_ASSERT_OK_AND_ASSIGN(auto held,
                           HoldBind({.address = "127.0.0.1", .port = kPort, .nobody = true}));
  NPG_ASSERT_OK(WritePorts({kPort, kOtherPort}));
  ASSERT_TRUE(BecomesRefusable(kPort));
  ASSERT_TRUE(BecomesRefusable(kOtherPort));
  held.Reset();
  const BindCall first{.port = kPort, .nobody = true};
  NPG_ASSERT_OK(guard().Stop());
  ExpectRefused({.port = kPort});
  ExpectSpared(first);
  NPG_ASSERT_OK(StartProtection("deny"));
  ExpectRefused({.port = kPort});
  ExpectSpared(first);
  ExpectRefused({.port = kOtherPort, .nobody = true});
  NPG_ASSERT_OK(Unload());
  EXPECT_EQ(TryBind({.port = kPort}), kBound);
  EXPECT_EQ(ReservedPorts(), "\n");
}

TEST_P(GuardBindProtectionTest, EndsWithARunWithoutIt) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  ExpectRefused({.port = kPort});
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartProtection("off"));
  ExpectPassed({.port = kPort});
  for (const char* map : {"refusable", "first_holders", "bind_addresses"}) {
    NPG_ASSERT_OK_AND_ASSIGN(const size_t entries, maps().Count(map));
    EXPECT_EQ(entries, 0U) << map;
  }
  EXPECT_TRUE(WaitUntil(kPatience, [] { return ReservedPorts() == "\n"; })) << ReservedPorts();
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartProtection("warn"));
  EXPECT_EQ(TryBind({.port = kPort}), kBound);
  EXPECT_EQ(Counted(NPG_COUNTER_BIND_WARNED), 1U);
}

// The mode of the guard is about connects.
TEST_P(GuardBindProtectionTest, RefusesWhileTheGuardOnlyObserves) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("deny", {"--mode", "observe"}));
  ExpectRefused({.port = kPort});
}

// Rules do not tell what the backends of a Service bind.
TEST_P(GuardBindProtectionTest, RefusesNothingByRulesAlone) {
  NPG_ASSERT_OK(Allocate(NodePorts({kPort})));
  NPG_ASSERT_OK(StartNetfilterGuard({"--bind-protection", "deny"}));
  EXPECT_THAT(guard().Log(), HasSubstr("bind protection needs the source kubernetes or file"));
  NPG_ASSERT_OK_AND_ASSIGN(const auto nodeport, maps().NodePort(kPort, Transport::kTcp));
  ASSERT_TRUE(nodeport.has_value());
  ExpectPassed({.port = kPort});
}

TEST_P(GuardBindProtectionTest, FollowsTheAddressesOfTheNode) {
  NPG_ASSERT_OK(WritePorts({kPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  NPG_ASSERT_OK(RunCommand({"ip", "addr", "add", "10.244.1.77/24", "dev", "pod0"}).status());
  const BindCall call{.address = "10.244.1.77", .port = kPort};
  EXPECT_TRUE(WaitUntil(kPatience, [&] { return TryBind(call) == RefusalErrno(); }));
  EXPECT_GE(Counted(NPG_COUNTER_BIND_REFUSED), 1U);
}

TEST_P(GuardBindProtectionTest, SaysWhatItDoesWhenReady) {
  NPG_ASSERT_OK(SetSysctl("net/ipv4/ip_local_port_range", "33000 42999"));
  NPG_ASSERT_OK(WritePorts({kPort, kOtherPort}));
  NPG_ASSERT_OK(StartProtection("deny"));
  EXPECT_THAT(guard().Log(), HasSubstr("reserving 2 ports; refusing binds of 2 NodePorts"));
  NPG_ASSERT_OK(guard().Stop());
  NPG_ASSERT_OK(StartProtection("warn"));
  EXPECT_THAT(guard().Log(), HasSubstr("reporting binds of 2 NodePorts"));
  EXPECT_THAT(guard().Log(), Not(HasSubstr("reserving")));
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardBindProtectionTest, ::testing::Values(RuleShape{}),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::bind_protection_test
