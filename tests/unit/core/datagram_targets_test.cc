// SPDX-License-Identifier: Apache-2.0
#include "core/datagram_targets.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"

namespace npg::core::datagram_targets_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint16_t kPort = 33589;

Listener Bound(const std::string& address, const std::string& comm = "coredns",
               Protocol protocol = Protocol::kUdp) {
  Listener listener;
  listener.key = {kPort, protocol};
  EXPECT_EQ(inet_pton(AF_INET6, address.c_str(), listener.address.data()), 1) << address;
  listener.owner.comm = comm;
  return listener;
}

// "127.0.0.0/8:33589" stands for a whole range; sockets of "holder" are ignored.
std::vector<std::string> Targets(const std::vector<Listener>& listeners,
                                 const std::vector<std::string>& own = {}) {
  AddressSet addresses;
  for (const std::string& address : own) addresses.insert(Bound(address).address);
  const DatagramTargets targets = FindDatagramTargets(
      {{{kPort, Protocol::kUdp}, {}}}, listeners, addresses, [](const Listener& listener) {
        return listener.owner.comm == "holder" ? OwnerVerdict::kIgnored : OwnerVerdict::kGuarded;
      });
  std::vector<std::string> texts;
  for (const uint16_t port : targets.loopback4) {
    texts.push_back(absl::StrCat("127.0.0.0/8:", port));
  }
  for (const auto& [address, port] : targets.addresses) {
    texts.push_back(absl::StrCat(AddressText(address), ":", port));
  }
  EXPECT_EQ(targets.empty(), texts.empty());
  return texts;
}

TEST(DatagramTargetsTest, ABoundAddressIsOneTarget) {
  EXPECT_THAT(Targets({Bound("::ffff:127.0.0.5")}), ElementsAre("127.0.0.5:33589"));
  EXPECT_THAT(Targets({Bound("::1")}), ElementsAre("[::1]:33589"));
}

TEST(DatagramTargetsTest, AWildcardIsAllOfLoopback) {
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0")}), ElementsAre("127.0.0.0/8:33589"));
  EXPECT_THAT(Targets({Bound("::")}), ElementsAre("127.0.0.0/8:33589", "[::1]:33589"));
  Listener v6only = Bound("::");
  v6only.v6only = true;
  EXPECT_THAT(Targets({v6only}), ElementsAre("[::1]:33589"));
}

TEST(DatagramTargetsTest, ContainsWhatItsAddressesAndRangesCover) {
  const auto contains = [](const DatagramTargets& targets, const std::string& address,
                           uint16_t port = kPort) {
    return targets.Contains(Bound(address).address, port);
  };
  DatagramTargets targets;
  EXPECT_FALSE(contains(targets, "::ffff:127.0.0.1"));
  targets.addresses.emplace(Bound("::1").address, kPort);
  targets.addresses.emplace(Bound("::ffff:10.0.0.5").address, kPort);
  EXPECT_TRUE(contains(targets, "::1"));
  EXPECT_TRUE(contains(targets, "::ffff:10.0.0.5"));
  EXPECT_FALSE(contains(targets, "::1", kPort + 1));
  EXPECT_FALSE(contains(targets, "::ffff:127.0.0.1"));
  targets.loopback4.insert(kPort + 1);
  EXPECT_TRUE(contains(targets, "::ffff:127.0.0.1", kPort + 1));
  EXPECT_TRUE(contains(targets, "::ffff:127.255.255.254", kPort + 1));
  EXPECT_FALSE(contains(targets, "::1", kPort + 1));
  EXPECT_FALSE(contains(targets, "::ffff:10.0.0.5", kPort + 1));
}

TEST(DatagramTargetsTest, OwnAddressesOnlyInScopeLocal) {
  EXPECT_THAT(Targets({Bound("::ffff:10.0.0.5")}), IsEmpty());
  const std::vector<std::string> own = {"::ffff:10.0.0.5", "2001:db8::5"};
  EXPECT_THAT(Targets({Bound("::ffff:10.0.0.5")}, own), ElementsAre("10.0.0.5:33589"));
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0")}, own),
              ElementsAre("127.0.0.0/8:33589", "10.0.0.5:33589"));
  EXPECT_THAT(Targets({Bound("::")}, own), ElementsAre("127.0.0.0/8:33589", "[::1]:33589",
                                                       "10.0.0.5:33589", "[2001:db8::5]:33589"));
}

TEST(DatagramTargetsTest, OnlyUdpOnNodePortsThatLoopbackReaches) {
  Listener other = Bound("::");
  other.key.port = 53;
  Listener elsewhere = Bound("::");
  elsewhere.ifindex = 2;
  EXPECT_THAT(
      Targets({other, elsewhere, Bound("::", "coredns", Protocol::kTcp), Bound("2001:db8::1")}),
      IsEmpty());
}

TEST(DatagramTargetsTest, SocketsOfIgnoredOwnersAreNoTargets) {
  EXPECT_THAT(Targets({Bound("::", "holder"), Bound("::ffff:127.0.0.1", "holder")}), IsEmpty());
  EXPECT_THAT(Targets({Bound("::", "holder"), Bound("::ffff:127.0.0.1")}),
              ElementsAre("127.0.0.1:33589"));
}

// A datagram to 127.0.0.1 would reach the ignored socket, so this address is not exempt.
TEST(DatagramTargetsTest, AnIgnoredAddressBelowAWildcard) {
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0"), Bound("::ffff:127.0.0.1", "holder")}), IsEmpty());
  EXPECT_THAT(Targets({Bound("::"), Bound("::ffff:127.0.0.1", "holder")}),
              ElementsAre("[::1]:33589"));
  EXPECT_THAT(Targets({Bound("::"), Bound("::1", "holder")}), ElementsAre("127.0.0.0/8:33589"));
}

// Any user can bind another address of the port with SO_REUSEADDR: that must not take the exemption
// from clients of 127.0.0.1.
TEST(DatagramTargetsTest, AnotherLoopbackAddressBelowAWildcard) {
  const Listener other = Bound("::ffff:127.0.0.9", "holder");
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0"), other}), ElementsAre("127.0.0.1:33589"));
  EXPECT_THAT(Targets({other, Bound("::")}), ElementsAre("[::1]:33589", "127.0.0.1:33589"));
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0"), Bound("::ffff:127.0.0.5"), other}),
              ElementsAre("127.0.0.1:33589", "127.0.0.5:33589"));
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0"), other, Bound("::ffff:127.0.0.1", "holder")}),
              IsEmpty());
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0"), other, Bound("::ffff:127.0.0.1")}),
              ElementsAre("127.0.0.1:33589"));
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0"), other}, {"::ffff:10.0.0.5"}),
              ElementsAre("10.0.0.5:33589", "127.0.0.1:33589"));
}

TEST(DatagramTargetsTest, AnOwnAddressBelowAWildcard) {
  const std::vector<std::string> own = {"::ffff:10.0.0.5", "::ffff:10.0.0.6", "2001:db8::5"};
  EXPECT_THAT(
      Targets({Bound("::"), Bound("::ffff:10.0.0.5", "holder")}, own),
      ElementsAre("127.0.0.0/8:33589", "[::1]:33589", "10.0.0.6:33589", "[2001:db8::5]:33589"));
  EXPECT_THAT(Targets({Bound("::"), Bound("2001:db8::5", "holder")}, own),
              ElementsAre("127.0.0.0/8:33589", "[::1]:33589", "10.0.0.5:33589", "10.0.0.6:33589"));
}

// With SO_REUSEADDR, two users can bind one address, and the newer socket receives.
TEST(DatagramTargetsTest, AnAddressThatAGuardedSocketShares) {
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0"), Bound("::ffff:0.0.0.0", "holder")}), IsEmpty());
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0"), Bound("::", "holder")}), IsEmpty());
  EXPECT_THAT(Targets({Bound("::ffff:127.0.0.1"), Bound("::ffff:127.0.0.1", "holder")}), IsEmpty());
  Listener v6only = Bound("::", "holder");
  v6only.v6only = true;
  EXPECT_THAT(Targets({Bound("::ffff:0.0.0.0"), v6only}), ElementsAre("127.0.0.0/8:33589"));
}

}  // namespace
}  // namespace npg::core::datagram_targets_test
