// SPDX-License-Identifier: Apache-2.0
// docs/alternatives.md: what each way to avoid conflicts does on this kernel, with the rules of
// kube-proxy and real connects. The expected results are kAlternatives (testing/alternatives.h).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "integration/guard/alternatives_fixture.h"
#include "testing/alternatives.h"
#include "testing/client.h"
#include "testing/echo_server.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::testing::alternatives_test {
namespace {

using ::testing::AnyOf;

std::string AlternativeName(const ::testing::TestParamInfo<Alternative>& info) {
  return info.param.name;
}

TEST_P(AlternativesTest, ListenerFirst) {
  EXPECT_STREQ(Word(ListenFirst(kLoopback, kLoopback, Transport::kTcp, true)),
               Word(GetParam().listener_first));
}

TEST_P(AlternativesTest, NodePortFirst) {
  EXPECT_STREQ(Word(ListenLast()), Word(GetParam().nodeport_first));
}

TEST_P(AlternativesTest, NoEndpoints) {
  EXPECT_STREQ(Word(ListenFirst(kLoopback, kLoopback, Transport::kTcp, false)),
               Word(GetParam().no_endpoints));
}

TEST_P(AlternativesTest, OtherNodePorts) {
  NPG_ASSERT_OK(Allocate(true));
  const std::string answer = Ask({kLoopback, kOtherNodePort});
  EXPECT_THAT(answer, AnyOf("pod", "refused"));
  EXPECT_STREQ(Word(answer == "pod" ? Helps::kYes : Helps::kNo), Word(GetParam().keeps_others));
  EXPECT_EQ(Ask({kNodeAddress, kOtherNodePort}), "pod");
}

TEST_P(AlternativesTest, NodeAddresses) {
  EXPECT_STREQ(Word(ListenFirst("0.0.0.0", kNodeAddress, Transport::kTcp, true)),
               Word(GetParam().node_addresses));
}

TEST_P(AlternativesTest, Udp) {
  EXPECT_STREQ(Word(ListenFirst(kLoopback, kLoopback, Transport::kUdp, true)),
               Word(GetParam().udp));
}

INSTANTIATE_TEST_SUITE_P(Ways, AlternativesTest, ::testing::ValuesIn(kAlternatives),
                         AlternativeName);

// A hostPort may have any number, and portmap makes the same rules for it.
TEST(AlternativesFixedPortTest, AHostPortCanHaveItsNumber) {
  NPG_ASSERT_OK_AND_ASSIGN(const auto node, TestNode::Create());
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, EchoServer::Start("host", {{"127.0.0.1", 10010}}));
  EXPECT_EQ(Ask({"127.0.0.1", 10010}), "host");
  const KubeProxyRules rules(IptablesVariant::kNft, TestNode::kPod, TestNode::kPodPort);
  NPG_ASSERT_OK(rules.Apply({{10010, Transport::kTcp, true}}));
  EXPECT_EQ(Ask({"127.0.0.1", 10010}), "pod");
}

}  // namespace
}  // namespace npg::testing::alternatives_test
