// SPDX-License-Identifier: Apache-2.0
// A guard that reads the NodePorts from the rules in the kernel.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "testing/client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::netfilter_source_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint16_t kNextPort = 33590;

class GuardNetfilterSourceTest : public GuardTest {};

TEST_P(GuardNetfilterSourceTest, FollowsKubeProxysRules) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                                  {"127.0.0.1", kPort, Transport::kUdp},
                                                  {"127.0.0.1", kNextPort, Transport::kTcp}}));
  const Dial tcp{"127.0.0.1", kPort, Transport::kTcp};
  const Dial udp{"127.0.0.1", kPort, Transport::kUdp};
  const Dial next{"127.0.0.1", kNextPort, Transport::kTcp};
  node().HurryGuards();
  NPG_ASSERT_OK(rules().Apply(NodePorts({kPort})));
  EXPECT_EQ(Ask(tcp), Hijacked());
  EXPECT_EQ(Ask(udp), Hijacked());
  EXPECT_EQ(Ask(next), kHost);

  NPG_ASSERT_OK_AND_ASSIGN(const GuardProcess guard,
                           GuardProcess::Start(node(), {"--source", "netfilter"}));
  EXPECT_EQ(Ask(tcp), kHost);
  EXPECT_EQ(Ask(udp), kHost);
  EXPECT_EQ(Ask(next), kHost);

  // iptables-legacy sends no notifications: the guard polls its rules.
  const absl::Duration deadline =
      GetParam().variant == IptablesVariant::kNft ? absl::Seconds(10) : absl::Seconds(40);
  NPG_ASSERT_OK(rules().Apply(NodePorts({kNextPort})));
  EXPECT_TRUE(WaitUntil(deadline, [&] {
    const auto freed = maps().NodePort(kPort, Transport::kTcp);
    const auto allocated = maps().NodePort(kNextPort, Transport::kTcp);
    return freed.ok() && !freed->has_value() && allocated.ok() && allocated->has_value();
  })) << guard.Log();
  EXPECT_EQ(Ask(tcp), kHost);
  EXPECT_EQ(Ask(udp), kHost);
  EXPECT_EQ(Ask(next), kHost);
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardNetfilterSourceTest, ::testing::ValuesIn(RuleShapes()),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::netfilter_source_test
