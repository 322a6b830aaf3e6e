// SPDX-License-Identifier: Apache-2.0
// Open connections during events on a node: none may be cut, lose data or be diverted,
// whether it is busy or silent meanwhile. The ports of some clients are NodePorts, too,
// so the replies are sent to a NodePort.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "testing/client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/status_asserts.h"
#include "testing/stream.h"
#include "testing/transport.h"
#include "testing/wait_until.h"

namespace npg::testing::stream_test {
namespace {

constexpr uint16_t kPort = 33589;
constexpr uint16_t kOtherPort = 33590;  // keeps conntrack busy while kPort is free
// NodePorts that clients use as their source port.
constexpr std::array<uint16_t, 5> kClientPorts = {30101, 30102, 30103, 30104, 30105};
constexpr size_t kMegabyte = 1 << 20;

Dial From(uint16_t source_port, Transport transport) {
  Dial dial{"127.0.0.1", kPort, transport};
  if (source_port != 0) {
    dial.source = "127.0.0.1";
    dial.source_port = source_port;
  }
  return dial;
}

class GuardStreamTest : public GuardTest {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(GuardTest::SetUp());
    NPG_ASSERT_OK_AND_ASSIGN(host_, Host({{"127.0.0.1", kPort, Transport::kTcp},
                                          {"127.0.0.1", kPort, Transport::kUdp}}));
  }

  EchoServer& host() { return *host_; }

  static std::vector<NodePort> WithoutPort() {
    std::vector<uint16_t> ports(kClientPorts.begin(), kClientPorts.end());
    ports.push_back(kOtherPort);
    return NodePorts(ports);
  }

  static std::vector<NodePort> WithPort() {
    std::vector<NodePort> nodeports = WithoutPort();
    for (const NodePort& nodeport : NodePorts({kPort})) nodeports.push_back(nodeport);
    return nodeports;
  }

  static void ExpectAnswer(const std::string& expected) {
    const std::vector<std::string> answers =
        AskAll({[] {
                  return Ask({"127.0.0.1", kPort, Transport::kTcp});
                },
                [] {
                  return Ask({"127.0.0.1", kPort, Transport::kUdp});
                }});
    EXPECT_EQ(answers[0], expected) << "new TCP connect";
    EXPECT_EQ(answers[1], expected) << "new UDP connect";
  }

  // Applies the rules, shows the hijack, and starts the guard.
  void ApplyRulesThenStartGuard() {
    NPG_ASSERT_OK(Allocate(WithPort()));
    ExpectAnswer(Hijacked());
    NPG_ASSERT_OK(StartGuard());
    ExpectAnswer(kHost);
  }

  void OpenStreams(bool with_udp = true) {
    std::vector<Dial> dials = {
        From(0, Transport::kTcp),
        From(kClientPorts[0], Transport::kTcp),
        From(kClientPorts[1], Transport::kMptcp),
    };
    if (with_udp) dials.push_back(From(kClientPorts[2], Transport::kUdp));
    for (const Dial& dial : dials) {
      NPG_ASSERT_OK_AND_ASSIGN(auto stream, Stream::Open(dial));
      ASSERT_EQ(stream->server(), kHost) << ToString(dial);
      NPG_ASSERT_OK(stream->Exchange(kMegabyte));
      silent_.push_back(std::move(stream));
    }
    for (const Dial& dial : {From(0, Transport::kTcp), From(kClientPorts[3], Transport::kTcp)}) {
      NPG_ASSERT_OK_AND_ASSIGN(auto stream, Stream::Open(dial));
      ASSERT_EQ(stream->server(), kHost) << ToString(dial);
      busy_.push_back(std::make_unique<BusyStream>(std::move(stream)));
    }
    ExpectBusyStreamsMove();
  }

  void ExpectBusyStreamsMove() {
    for (const auto& stream : busy_) {
      const uint64_t before = stream->progress();
      EXPECT_TRUE(WaitUntil(absl::Seconds(10), [&] { return stream->progress() > before; }))
          << "a busy stream makes no progress";
    }
  }

  // On silent streams the server sends first: its packets carry no mark, and no earlier
  // packet of the client has refreshed the flow.
  void ExpectStreamsWhole() {
    ExpectBusyStreamsMove();
    for (const auto& stream : silent_) {
      SCOPED_TRACE(stream->local_port());
      NPG_EXPECT_OK(stream->Receive(host(), kMegabyte));
      NPG_EXPECT_OK(stream->Exchange(2 * kMegabyte));
    }
  }

  void FinishStreams() {
    for (const auto& busy : busy_) {
      auto [stream, status] = busy->Stop();
      NPG_EXPECT_OK(status);
      NPG_EXPECT_OK(stream->Finish());
    }
    for (const auto& stream : silent_) NPG_EXPECT_OK(stream->Finish());
  }

  // Expects all streams to survive `disturbance`.
  void LiveThrough(absl::FunctionRef<void()> disturbance, bool with_udp = true) {
    ASSERT_NO_FATAL_FAILURE(OpenStreams(with_udp));
    ASSERT_NO_FATAL_FAILURE(disturbance());
    ExpectStreamsWhole();
    FinishStreams();
  }

 private:
  std::unique_ptr<EchoServer> host_;
  std::vector<std::unique_ptr<Stream>> silent_;
  std::vector<std::unique_ptr<BusyStream>> busy_;
};

TEST_P(GuardStreamTest, Undisturbed) {
  ASSERT_NO_FATAL_FAILURE(ApplyRulesThenStartGuard());
  LiveThrough([] {});
}

TEST_P(GuardStreamTest, ClientPortIsItselfANodePort) {
  NPG_ASSERT_OK(Allocate(WithPort()));
  const auto ask_from = [](uint16_t port, Transport transport) {
    return [=] { return Ask(From(port, transport)); };
  };
  const std::vector<std::string> unguarded = AskAll(
      {ask_from(kClientPorts[4], Transport::kTcp), ask_from(kClientPorts[4], Transport::kUdp)});
  EXPECT_EQ(unguarded[0], Hijacked());
  EXPECT_EQ(unguarded[1], Hijacked());
  NPG_ASSERT_OK(StartGuard());
  for (const Transport transport : {Transport::kTcp, Transport::kUdp, Transport::kMptcp}) {
    Dial dial = From(kClientPorts[transport == Transport::kMptcp ? 1 : 0], transport);
    SCOPED_TRACE(ToString(dial));
    NPG_ASSERT_OK_AND_ASSIGN(const auto stream, Stream::Open(dial));
    EXPECT_EQ(stream->server(), kHost);
    NPG_EXPECT_OK(stream->Exchange(4 * kMegabyte));
    NPG_EXPECT_OK(stream->Receive(host(), 4 * kMegabyte));
    NPG_EXPECT_OK(stream->Finish());
  }
}

TEST_P(GuardStreamTest, ControllerRestarts) {
  ASSERT_NO_FATAL_FAILURE(ApplyRulesThenStartGuard());
  LiveThrough([this] {
    NPG_ASSERT_OK(guard().Stop());
    ExpectAnswer(kHost);
    ExpectBusyStreamsMove();
    NPG_ASSERT_OK(StartGuard());
    ExpectAnswer(kHost);
  });
}

TEST_P(GuardStreamTest, ControllerIsKilled) {
  ASSERT_NO_FATAL_FAILURE(ApplyRulesThenStartGuard());
  LiveThrough([this] {
    NPG_ASSERT_OK(guard().Kill());
    ExpectAnswer(kHost);
    ExpectStreamsWhole();
    NPG_ASSERT_OK(StartGuard());
    ExpectAnswer(kHost);
  });
}

TEST_P(GuardStreamTest, NodePortIsFreedAndAllocatedAgain) {
  ASSERT_NO_FATAL_FAILURE(ApplyRulesThenStartGuard());
  LiveThrough([this] {
    NPG_ASSERT_OK(Allocate(WithoutPort()));
    ExpectAnswer(kHost);
    ExpectStreamsWhole();
    NPG_ASSERT_OK(Allocate(WithPort()));
    ExpectAnswer(kHost);
  });
}

TEST_P(GuardStreamTest, EndpointsComeAndGo) {
  ASSERT_NO_FATAL_FAILURE(ApplyRulesThenStartGuard());
  LiveThrough([this] {
    std::vector<NodePort> nodeports = WithPort();
    for (NodePort& nodeport : nodeports) nodeport.endpoint = !nodeport.endpoint;
    NPG_ASSERT_OK(Allocate(nodeports));
    ExpectAnswer(kHost);
    ExpectStreamsWhole();
    NPG_ASSERT_OK(Allocate(WithPort()));
    ExpectAnswer(kHost);
  });
}

TEST_P(GuardStreamTest, ListenerStopsWhileItsConnectionsLive) {
  ASSERT_NO_FATAL_FAILURE(ApplyRulesThenStartGuard());
  LiveThrough(
      [this] {
        host().StopListening();
        EXPECT_TRUE(DatagramsAreLeftAlone(kPort));
        ExpectAnswer(Hijacked());
      },
      /*with_udp=*/false);
}

TEST_P(GuardStreamTest, StreamOlderThanItsNodePort) {
  NPG_ASSERT_OK(Allocate(WithoutPort()));
  NPG_ASSERT_OK(StartGuard());
  LiveThrough([this] {
    NPG_ASSERT_OK(Allocate(WithPort()));
    ExpectAnswer(kHost);
  });
}

TEST_P(GuardStreamTest, StreamOlderThanTheGuard) {
  NPG_ASSERT_OK(Allocate(WithoutPort()));
  LiveThrough([this] {
    NPG_ASSERT_OK(Allocate(WithPort()));
    ExpectAnswer(Hijacked());
    NPG_ASSERT_OK(StartGuard());
    ExpectAnswer(kHost);
  });
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardStreamTest, ::testing::ValuesIn(RuleShapesWithDropInvalid()),
                         RuleShapeName);

}  // namespace
}  // namespace npg::testing::stream_test
