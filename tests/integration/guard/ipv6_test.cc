// SPDX-License-Identifier: Apache-2.0
// IPv6 loopback. Current kube-proxy excludes ::1 from NodePorts (matrix_test.cc shows
// that the guard does no harm there). The rules of this test do not exclude it.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "testing/client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/kube_proxy_rules.h"
#include "testing/status_asserts.h"
#include "testing/stream.h"
#include "testing/transport.h"

namespace npg::testing::ipv6_test {
namespace {

constexpr uint16_t kLoopbackPort = 30001;
constexpr uint16_t kWildcardPort = 30002;
constexpr uint16_t kClientPort = 30003;       // is a NodePort, too
constexpr uint16_t kMptcpClientPort = 30004;  // is one, too
constexpr uint16_t kServicePort = 8080;

class GuardIpv6Test : public GuardTest {};

TEST_P(GuardIpv6Test, RescuesConnectsToLoopback) {
  std::vector<Listen> sockets;
  for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
    sockets.push_back({"::1", kLoopbackPort, transport});
    sockets.push_back({"::", kWildcardPort, transport});
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(sockets));
  NPG_ASSERT_OK_AND_ASSIGN(const auto service,
                           EchoServer::Start("pod", {{"::1", kServicePort, Transport::kTcp},
                                                     {"::1", kServicePort, Transport::kUdp}}));
  const std::vector<NodePort> nodeports =
      NodePorts({kLoopbackPort, kWildcardPort, kClientPort, kMptcpClientPort});
  NPG_ASSERT_OK(Allocate(nodeports));
  NPG_ASSERT_OK(ApplyIpv6LoopbackRules(GetParam().variant, nodeports, kServicePort));
  std::vector<WayToAsk> ways;
  for (const uint16_t port : {kLoopbackPort, kWildcardPort}) {
    for (const Transport transport : {Transport::kTcp, Transport::kUdp, Transport::kMptcp}) {
      for (const char* destination : {"::1", "::"}) {
        const Dial dial{destination, port, transport};
        ways.push_back({ToString(dial), [dial] { return Ask(dial); }});
      }
    }
  }
  ExpectHijackedThenRescued(ways);

  for (const Transport transport : {Transport::kTcp, Transport::kUdp, Transport::kMptcp}) {
    Dial dial{"::1", kLoopbackPort, transport};
    dial.source = "::1";
    dial.source_port = transport == Transport::kMptcp ? kMptcpClientPort : kClientPort;
    SCOPED_TRACE(ToString(dial));
    NPG_ASSERT_OK_AND_ASSIGN(const auto stream, Stream::Open(dial));
    EXPECT_EQ(stream->server(), kHost);
    NPG_EXPECT_OK(stream->Exchange(1 << 20));
    NPG_EXPECT_OK(stream->Receive(*host, 1 << 20));
    NPG_EXPECT_OK(stream->Finish());
  }

  host->StopListening();
  EXPECT_EQ(Ask({"::1", kLoopbackPort, Transport::kTcp}), Hijacked());
  EXPECT_TRUE(DatagramsAreLeftAlone(kLoopbackPort));
  EXPECT_EQ(Ask({"::1", kLoopbackPort, Transport::kUdp}), Hijacked());
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardIpv6Test, ::testing::ValuesIn(RuleShapes()), RuleShapeName);

}  // namespace
}  // namespace npg::testing::ipv6_test
