// SPDX-License-Identifier: Apache-2.0
// Which server answers each connect to a loopback listener: listener address ×
// destination × protocol; without rules, with kube-proxy's rules, and with the guard.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "guard_abi.h"
#include "testing/client.h"
#include "testing/echo_server.h"
#include "testing/guard_fixture.h"
#include "testing/status_asserts.h"
#include "testing/transport.h"

namespace npg::testing::matrix_test {
namespace {

// Each has its own port, so that all can listen at once.
const std::vector<Listen>& Listeners() {
  static const std::vector<Listen> listeners = {
      {"127.0.0.1", 30001}, {"127.0.0.5", 30002}, {"0.0.0.0", 30003}, {"::", 30004}, {"::1", 30005},
  };
  return listeners;
}

// A destination as passed to connect(), and the address that the kernel connects to.
struct Destination {
  const char* address;
  const char* source;  // bound to before connect(), unless ""
  const char* reached;
};

constexpr std::array<Destination, 11> kDestinations = {{
    {"127.0.0.1", "", "127.0.0.1"},
    {"127.0.0.5", "", "127.0.0.5"},
    {"0.0.0.0", "", "127.0.0.1"},
    {"0.0.0.0", "127.0.0.5", "127.0.0.5"},
    {"::1", "", "::1"},
    {"::", "", "::1"},
    {"::ffff:127.0.0.1", "", "127.0.0.1"},
    {"::ffff:127.0.0.5", "", "127.0.0.5"},
    {"::ffff:0.0.0.0", "", "127.0.0.1"},
    {"::ffff:0.0.0.0", "::ffff:127.0.0.5", "127.0.0.5"},
    {"::", "::ffff:127.0.0.1", "127.0.0.1"},
}};

bool IsIpv4(const std::string& address) { return !absl::StrContains(address, ':'); }

bool Receives(const std::string& listener, const std::string& reached) {
  if (listener == "::") return true;
  return listener == reached || (listener == "0.0.0.0" && IsIpv4(reached));
}

struct Combination {
  Dial dial;
  bool reachable = false;  // its listener receives the connect without rules
  bool ipv4 = false;       // kube-proxy's rules apply
};

std::vector<Combination> Combinations() {
  std::vector<Combination> all;
  for (const Listen& listener : Listeners()) {
    for (const Destination& destination : kDestinations) {
      for (const Transport transport : {Transport::kTcp, Transport::kUdp}) {
        Combination combination;
        combination.dial.destination = destination.address;
        combination.dial.port = listener.port;
        combination.dial.transport = transport;
        combination.dial.source = destination.source;
        combination.reachable = Receives(listener.address, destination.reached);
        combination.ipv4 = IsIpv4(destination.reached);
        all.push_back(combination);
      }
    }
  }
  return all;
}

class GuardMatrixTest : public GuardTest {
 protected:
  static void ExpectAnswers(const std::vector<Combination>& combinations,
                            const std::function<std::string(const Combination&)>& expected) {
    std::vector<std::function<std::string()>> asks;
    asks.reserve(combinations.size());
    for (const Combination& combination : combinations) {
      asks.emplace_back([&combination] { return Ask(combination.dial); });
    }
    const std::vector<std::string> answers = AskAll(asks);
    for (size_t i = 0; i < combinations.size(); ++i) {
      EXPECT_EQ(answers[i], expected(combinations[i])) << ToString(combinations[i].dial);
    }
  }

  static std::string WithoutRules(const Combination& combination) {
    return combination.reachable ? kHost : "refused";
  }

  static std::string WithoutGuard(const Combination& combination) {
    return combination.ipv4 ? Hijacked() : WithoutRules(combination);
  }
};

TEST_P(GuardMatrixTest, RescuesEveryConnectThatReachesAListener) {
  std::vector<Listen> sockets;
  std::vector<uint16_t> ports;
  for (Listen listener : Listeners()) {
    ports.push_back(listener.port);
    sockets.push_back(listener);
    listener.transport = Transport::kUdp;
    sockets.push_back(listener);
  }
  NPG_ASSERT_OK_AND_ASSIGN(const auto host, Host(sockets));
  std::vector<Combination> reaching, missing;
  for (const Combination& combination : Combinations()) {
    (combination.reachable ? reaching : missing).push_back(combination);
  }
  {
    SCOPED_TRACE("no rules, no guard");
    ExpectAnswers(Combinations(), WithoutRules);
  }
  NPG_ASSERT_OK(Allocate(NodePorts(ports)));
  {
    SCOPED_TRACE("rules, no guard");
    ExpectAnswers(Combinations(), WithoutGuard);
  }
  NPG_ASSERT_OK(StartGuard());
  {
    SCOPED_TRACE("guard, no listener is reached");
    ExpectAnswers(missing, WithoutGuard);
    EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), missing.size());
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 0U);
  }
  for (const Combination& combination : reaching) {
    SCOPED_TRACE(absl::StrCat("guard, ", ToString(combination.dial)));
    EXPECT_EQ(Ask(combination.dial), kHost);
    EXPECT_EQ(Counted(NPG_COUNTER_EXEMPTED), 1U);
    EXPECT_EQ(Counted(NPG_COUNTER_NO_LISTENER), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, GuardMatrixTest, ::testing::ValuesIn(RuleShapes()), RuleShapeName);

}  // namespace
}  // namespace npg::testing::matrix_test
