// SPDX-License-Identifier: Apache-2.0
#include "core/conflicts.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace npg::core::conflicts_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Listener Listening(uint16_t port, Protocol protocol, const std::string& address,
                   const std::string& comm = "") {
  Listener listener;
  listener.key = {.port = port, .protocol = protocol};
  EXPECT_EQ(inet_pton(AF_INET6, address.c_str(), listener.address.data()), 1) << address;
  listener.owner.comm = comm;
  return listener;
}

std::vector<std::string> Texts(const std::vector<Conflict>& conflicts) {
  std::vector<std::string> texts;
  texts.reserve(conflicts.size());
  for (const Conflict& c : conflicts) {
    texts.push_back(absl::StrCat(ToString(c.key), " ", AddressText(c.listener.address), " ",
                                 c.listener.owner.comm, " ", c.service, " ", c.sources));
  }
  return texts;
}

OwnerVerdict AllGuarded(const Listener& /*listener*/) { return OwnerVerdict::kGuarded; }

std::vector<Conflict> Conflicts(const PortEntries& ports, const std::vector<Listener>& listeners,
                                const AddressSet& own = {}) {
  return FindConflicts(ports, listeners, own, {}, AllGuarded);
}

const PortEntries& Ports() {
  static const auto* const kPorts = new PortEntries{
      {{30080, Protocol::kTcp}, {.sources = 1, .service = "shop/web"}},
      {{30053, Protocol::kUdp}, {.sources = 3, .service = "kube-system/dns"}},
      {{30053, Protocol::kTcp}, {.sources = 2, .service = ""}},
  };
  return *kPorts;
}

TEST(FindConflicts, NothingWithoutPortsOrListeners) {
  EXPECT_THAT(Conflicts({}, {}), IsEmpty());
  EXPECT_THAT(Conflicts(Ports(), {}), IsEmpty());
  EXPECT_THAT(Conflicts({}, {Listening(30080, Protocol::kTcp, "::ffff:127.0.0.1")}), IsEmpty());
}

TEST(FindConflicts, NamesTheListenerAndTheService) {
  EXPECT_THAT(Texts(Conflicts(
                  Ports(), {Listening(30080, Protocol::kTcp, "::ffff:127.0.0.1", "containerd")})),
              ElementsAre("30080/tcp 127.0.0.1 containerd shop/web 1"));
}

TEST(FindConflicts, OnlyTheSamePortAndProtocol) {
  EXPECT_THAT(Conflicts(Ports(), {Listening(30081, Protocol::kTcp, "::"),
                                  Listening(30080, Protocol::kUdp, "::")}),
              IsEmpty());
}

TEST(FindConflicts, OnlyListenersThatLoopbackReaches) {
  EXPECT_THAT(Conflicts(Ports(), {Listening(30080, Protocol::kTcp, "::ffff:10.0.0.1"),
                                  Listening(30080, Protocol::kTcp, "2001:db8::1")}),
              IsEmpty());
  Listener on_eth0 = Listening(30080, Protocol::kTcp, "::");
  on_eth0.ifindex = 2;
  EXPECT_THAT(Conflicts(Ports(), {on_eth0}), IsEmpty());
}

TEST(FindConflicts, OnePerListenerSortedByPortProtocolAddress) {
  EXPECT_THAT(Texts(Conflicts(Ports(), {Listening(30080, Protocol::kTcp, "::ffff:127.0.0.5", "e"),
                                        Listening(30080, Protocol::kTcp, "::ffff:127.0.0.1", "d"),
                                        Listening(30080, Protocol::kTcp, "::", "c"),
                                        Listening(30053, Protocol::kUdp, "::", "b"),
                                        Listening(30053, Protocol::kTcp, "::1", "a"),
                                        Listening(22, Protocol::kTcp, "::", "x")})),
              ElementsAre("30053/tcp [::1] a  2", "30053/udp [::] b kube-system/dns 3",
                          "30080/tcp [::] c shop/web 1", "30080/tcp 127.0.0.1 d shop/web 1",
                          "30080/tcp 127.0.0.5 e shop/web 1"));
}

// A SO_REUSEPORT group: sockets with one address, in input order.
TEST(FindConflicts, KeepsEveryMemberOfAGroup) {
  EXPECT_THAT(Texts(Conflicts(Ports(), {Listening(30080, Protocol::kTcp, "::1", "first"),
                                        Listening(30080, Protocol::kTcp, "::1", "second")})),
              ElementsAre("30080/tcp [::1] first shop/web 1", "30080/tcp [::1] second shop/web 1"));
}

TEST(FindConflicts, OwnAddressesOnlyInScopeLocal) {
  const Listener listener = Listening(30080, Protocol::kTcp, "::ffff:10.0.0.1", "agent");
  EXPECT_THAT(
      Conflicts(Ports(), {listener}, {Listening(1, Protocol::kTcp, "::ffff:10.0.0.2").address}),
      IsEmpty());
  EXPECT_THAT(Texts(Conflicts(Ports(), {listener}, {listener.address})),
              ElementsAre("30080/tcp 10.0.0.1 agent shop/web 1"));
}

TEST(FindConflicts, HasTheVerdictOnEachOwnerButNoSocketsThatAreNoListeners) {
  const std::vector<Conflict> conflicts = FindConflicts(
      Ports(),
      {Listening(30080, Protocol::kTcp, "::", "kube-proxy"),
       Listening(30080, Protocol::kTcp, "::1", "agent"),
       Listening(30080, Protocol::kTcp, "::1", "dnsmasq")},
      {}, {}, [](const Listener& listener) {
        if (listener.owner.comm == "dnsmasq") return OwnerVerdict::kNoListener;
        return listener.owner.comm == "agent" ? OwnerVerdict::kUntrusted : OwnerVerdict::kIgnored;
      });
  ASSERT_EQ(conflicts.size(), 2U);
  EXPECT_EQ(conflicts[0].owner_verdict, OwnerVerdict::kIgnored);
  EXPECT_EQ(conflicts[1].owner_verdict, OwnerVerdict::kUntrusted);
}

TEST(FindConflicts, IncludesTheCountersOfThePort) {
  const absl::Time since = absl::FromUnixSeconds(1000);
  PortHistories histories;
  histories[{30080, Protocol::kTcp}] = {since, 42, 7, since + absl::Hours(1)};
  histories[{30080, Protocol::kUdp}] = {since, 1, 1, since};
  const std::vector<Conflict> conflicts = FindConflicts(
      Ports(), {Listening(30080, Protocol::kTcp, "::"), Listening(30053, Protocol::kUdp, "::")}, {},
      histories, AllGuarded);
  ASSERT_EQ(conflicts.size(), 2U);
  EXPECT_FALSE(conflicts[0].history.since.has_value());
  EXPECT_EQ(conflicts[0].history.exempted, 0U);
  EXPECT_EQ(conflicts[1].history.since, since);
  EXPECT_EQ(conflicts[1].history.exempted, 42U);
  EXPECT_EQ(conflicts[1].history.observed, 7U);
  EXPECT_EQ(conflicts[1].history.last, since + absl::Hours(1));
}

}  // namespace
}  // namespace npg::core::conflicts_test
