// SPDX-License-Identifier: Apache-2.0
#include "core/accept_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"

namespace npg::core::accept_queue_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Address = std::array<uint8_t, 16>;

constexpr uint16_t kPort = 33589;
constexpr uint64_t kInode = 4242;

Address V4(uint8_t last) { return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, last}; }

Listener Waiting(uint32_t waiting, uint32_t limit = 128) {
  Listener listener;
  listener.address = V4(1);
  listener.key = {kPort, Protocol::kTcp};
  listener.inode = kInode;
  listener.accept_queue = waiting;
  listener.accept_limit = limit;
  return listener;
}

// `count` connections with consecutive cookies: the first of them has waited longest.
std::vector<WaitingConnection> Connections(uint64_t first, uint64_t count,
                                           const Address& address = V4(1)) {
  std::vector<WaitingConnection> connections;
  for (uint64_t i = 0; i < count; ++i) connections.push_back({kPort, address, first + i});
  return connections;
}

absl::StatusOr<std::vector<Listener>> Look(AcceptQueues& queues,
                                           const std::vector<Listener>& listeners,
                                           const std::vector<WaitingConnection>& connections) {
  return queues.Look(listeners, [&](const WaitingQuery& /*query*/) {
    return absl::StatusOr<std::vector<WaitingConnection>>(connections);
  });
}

// The number of listeners that a look returns.
size_t Count(AcceptQueues& queues, const std::vector<Listener>& listeners,
             const std::vector<WaitingConnection>& connections) {
  const absl::StatusOr<std::vector<Listener>> found = Look(queues, listeners, connections);
  EXPECT_TRUE(found.ok()) << found.status();
  return found.ok() ? found->size() : 0;
}

// One look for each length of the queue; returns how often the listener was found. It accepts only
// when the queue becomes shorter, and then every connection that waited.
size_t Found(AcceptQueues& queues, const std::vector<uint32_t>& lengths, uint32_t limit = 128) {
  size_t found = 0;
  uint64_t first = 1;
  uint32_t before = 0;
  for (const uint32_t length : lengths) {
    if (length < before) first += before;
    before = length;
    found += Count(queues, {Waiting(length, limit)}, Connections(first, length));
  }
  return found;
}

// One look for each length; at each, all connections that waited at the last one were accepted.
size_t FoundOfBusy(AcceptQueues& queues, const std::vector<uint32_t>& lengths,
                   uint32_t limit = 128) {
  size_t found = 0;
  uint64_t first = 1;
  for (const uint32_t length : lengths) {
    found += Count(queues, {Waiting(length, limit)}, Connections(first, length));
    first += length;
  }
  return found;
}

TEST(AcceptQueueTest, IsFullWithOneMoreThanTheLimit) {
  EXPECT_FALSE(AcceptQueueIsFull(Waiting(0, 0)));
  EXPECT_TRUE(AcceptQueueIsFull(Waiting(1, 0)));
  EXPECT_FALSE(AcceptQueueIsFull(Waiting(128)));
  EXPECT_TRUE(AcceptQueueIsFull(Waiting(129)));
}

TEST(AcceptQueueTest, IsLongWhenFullOrWithManyConnections) {
  EXPECT_FALSE(HasLongAcceptQueue(Waiting(kManyWaiting - 1)));
  EXPECT_TRUE(HasLongAcceptQueue(Waiting(kManyWaiting)));
  EXPECT_FALSE(HasLongAcceptQueue(Waiting(2, 2)));
  EXPECT_TRUE(HasLongAcceptQueue(Waiting(3, 2)));
  EXPECT_FALSE(HasLongAcceptQueue(Waiting(1, 0))) << "one connection waits for a server at times";
  Listener udp = Waiting(0, 0);
  udp.key.protocol = Protocol::kUdp;
  EXPECT_FALSE(HasLongAcceptQueue(udp));
}

TEST(AcceptQueueTest, Text) {
  EXPECT_EQ(AcceptQueueText(Waiting(1)), "1 connection waits to be accepted (backlog 128)");
  EXPECT_EQ(AcceptQueueText(Waiting(3, 4096)), "3 connections wait to be accepted (backlog 4096)");
}

TEST(AcceptQueueTest, TheFlagSelectsByTheNameAtBind) {
  Listener listener = Waiting(8);
  listener.owner.comm = "renamed";
  OwnerPolicy policy;
  EXPECT_EQ(HowToIgnore(listener, policy),
            "run with --only-process NAME for each process that serves");
  listener.binder = Binder{812, "holder", 0, 77, kPort};
  EXPECT_EQ(HowToIgnore(listener, policy), "run with --ignore-process +holder");
  listener.binder->asked_port = 0;
  EXPECT_EQ(HowToIgnore(listener, policy),
            "run with --only-process NAME for each process that serves");
  policy.only = {"containerd", "holder"};
  EXPECT_EQ(HowToIgnore(listener, policy), "run without --only-process holder");
}

TEST(AcceptQueuesTest, FindsAQueueThatOnlyGrows) {
  AcceptQueues queues;
  // A suspect from the third look on.
  EXPECT_EQ(Found(queues, {1, 1, 2, 2, 2, 3, 3, 3}), 0U);
  EXPECT_EQ(queues.not_accepting(), 0U);
  const auto found = Look(queues, {Waiting(3)}, Connections(1, 3));
  ASSERT_TRUE(found.ok());
  ASSERT_THAT(*found, SizeIs(1));
  EXPECT_EQ(found->front().inode, kInode);
  EXPECT_EQ(found->front().accept_queue, 3U);
  EXPECT_EQ(queues.not_accepting(), 1U);
  EXPECT_TRUE(queues.Knows(Waiting(3)));
}

TEST(AcceptQueuesTest, ReturnsASocketOnceAndCountsItAtEachLook) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 9}), 1U);
  EXPECT_EQ(queues.not_accepting(), 1U);
  // It accepts, and later stops again.
  EXPECT_EQ(Found(queues, {0}), 0U);
  EXPECT_EQ(queues.not_accepting(), 0U);
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6, 7, 8}), 0U);
  EXPECT_EQ(queues.not_accepting(), 1U);
}

// It may belong to a server with a client that it serves for long.
TEST(AcceptQueuesTest, AQueueThatStaysTheSameIsNotFoundUnlessItIsFull) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, std::vector<uint32_t>(20, 5)), 0U);
  AcceptQueues full;
  EXPECT_EQ(Found(full, std::vector<uint32_t>(AcceptQueues::kLooks - 1, 129)), 0U);
  EXPECT_EQ(Found(full, {129}), 1U);
}

// A saturated server is full at every look.
TEST(AcceptQueuesTest, ABusyServerIsNotFound) {
  for (const uint32_t limit : {0U, 1U, 5U, 128U}) {
    AcceptQueues queues;
    EXPECT_EQ(
        FoundOfBusy(queues, std::vector<uint32_t>(4 * AcceptQueues::kLooks, limit + 1), limit), 0U)
        << limit;
    EXPECT_EQ(queues.not_accepting(), 0U);
  }
  AcceptQueues grows;
  EXPECT_EQ(FoundOfBusy(grows, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}), 0U);
}

// Some of the connections that waited a minute ago still wait, but it accepted the others.
TEST(AcceptQueuesTest, ASlowServerIsNotFound) {
  AcceptQueues queues;
  uint64_t first = 1;
  for (int look = 0; look < 10 * AcceptQueues::kLooks; ++look) {
    EXPECT_EQ(Count(queues, {Waiting(11, 10)}, Connections(first, 11)), 0U) << look;
    if (look % 2 == 1) ++first;
  }
}

// Connections that clients reset are gone, too: the others are the proof then.
TEST(AcceptQueuesTest, FindsAListenerSomeOfWhoseClientsResetTheirConnections) {
  AcceptQueues queues;
  size_t found = 0;
  uint64_t next = 1000;
  for (int look = 0; look < 2 * AcceptQueues::kLooks; ++look) {
    std::vector<WaitingConnection> connections = Connections(1, 5);
    connections.push_back({kPort, V4(1), next++});
    found += Count(queues, {Waiting(129)}, connections);
  }
  EXPECT_EQ(found, 1U);
}

TEST(AcceptQueuesTest, AListenerThatAcceptsAgainWithAFullQueueIsNotCounted) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, std::vector<uint32_t>(AcceptQueues::kLooks, 129)), 1U);
  EXPECT_EQ(queues.not_accepting(), 1U);
  EXPECT_EQ(Count(queues, {Waiting(129)}, Connections(1000, 129)), 0U);
  EXPECT_EQ(queues.not_accepting(), 0U);
}

TEST(AcceptQueuesTest, WithoutAConnectionToNoteThereIsNoProof) {
  AcceptQueues queues;
  for (int look = 0; look < 2 * AcceptQueues::kLooks; ++look) {
    EXPECT_EQ(Count(queues, {Waiting(129)}, {}), 0U);
  }
  for (int look = 1; look < AcceptQueues::kLooks; ++look) {
    EXPECT_EQ(Count(queues, {Waiting(129)}, Connections(1, 1)), 0U);
  }
  EXPECT_EQ(Count(queues, {Waiting(129)}, Connections(1, 1)), 1U);
}

TEST(AcceptQueuesTest, ListsConnectionsOnlyToNoteAndToJudge) {
  AcceptQueues queues;
  std::vector<size_t> cookies;  // in the query of each list
  const auto look = [&](uint32_t waiting) {
    return queues
        .Look({Waiting(waiting)},
              [&](const WaitingQuery& query) -> absl::StatusOr<std::vector<WaitingConnection>> {
                EXPECT_THAT(query.ports, ElementsAre(kPort));
                cookies.push_back(query.cookies.size());
                return Connections(1, 100);
              })
        .ok();
  };
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(look(5));
  EXPECT_THAT(cookies, IsEmpty()) << "no suspect";
  for (int i = 1; i < AcceptQueues::kLooks; ++i) EXPECT_TRUE(look(6));
  EXPECT_THAT(cookies, ElementsAre(0U));
  EXPECT_TRUE(look(6));
  EXPECT_THAT(cookies, ElementsAre(0U, AcceptQueues::kMaxNoted));
  EXPECT_EQ(queues.not_accepting(), 1U);
}

TEST(AcceptQueuesTest, ALookThatFailsDoesNotCount) {
  AcceptQueues queues;
  const std::vector<Listener> full = {Waiting(129)};
  const auto fail = [](const WaitingQuery& /*query*/) {
    return absl::StatusOr<std::vector<WaitingConnection>>(absl::UnavailableError("x"));
  };
  EXPECT_EQ(queues.Look(full, fail).status(), absl::UnavailableError("x"));
  EXPECT_EQ(Found(queues, std::vector<uint32_t>(AcceptQueues::kLooks - 1, 129)), 0U);
  EXPECT_EQ(queues.Look(full, fail).status(), absl::UnavailableError("x"));
  EXPECT_EQ(Found(queues, {129}), 1U);
}

// A connection belongs to the listener on its address, or else to that on any address.
TEST(AcceptQueuesTest, ConnectionsOfAnotherListenerOnThePortAreNoProof) {
  const auto found = [](const Listener& other, const Listener& stuck) {
    AcceptQueues queues;
    size_t count = 0;
    uint64_t next = 1000;
    for (int look = 0; look < AcceptQueues::kLooks; ++look) {
      // `other` accepts those to 127.0.0.2.
      std::vector<WaitingConnection> connections = Connections(1, 3);
      connections.push_back({kPort, V4(2), next++});
      count += Count(queues, {other, stuck}, connections);
    }
    EXPECT_TRUE(queues.Knows(stuck));
    EXPECT_FALSE(queues.Knows(other));
    return count;
  };
  const Listener stuck = Waiting(3, 2);
  Listener other = Waiting(1, 0);
  other.inode = kInode + 1;
  other.address = V4(2);
  EXPECT_EQ(found(other, stuck), 1U);
  other.address = V4(0);
  other.address[12] = 0;
  ASSERT_TRUE(IsWildcard(other.address));
  EXPECT_EQ(found(other, stuck), 1U);
  other.address = Address{};
  EXPECT_EQ(found(other, stuck), 1U);
}

TEST(AcceptQueuesTest, AListenerOnAnyAddressHasTheConnectionsToAll) {
  const auto found = [](const Listener& listener) {
    AcceptQueues queues;
    size_t count = 0;
    for (int look = 0; look < AcceptQueues::kLooks; ++look) {
      count += Count(queues, {listener}, Connections(1, 3));
    }
    return count;
  };
  Listener any = Waiting(3, 2);
  any.address = Address{};
  EXPECT_EQ(found(any), 1U);
  any.v6only = true;
  EXPECT_EQ(found(any), 0U) << "these are connections over IPv4";
}

TEST(AcceptQueuesTest, AQueueThatBecomesShorterBeginsAnew) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6, 5, 6, 7, 8, 9, 10, 11}), 0U);
  AcceptQueues longer;
  EXPECT_EQ(Found(longer, {1, 2, 3, 4, 5, 6, 5, 6, 7, 8, 9, 10, 11, 12}), 1U)
      << "the seventh look after the 5";
}

TEST(AcceptQueuesTest, AnEmptyQueueBeginsAnew) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 7}), 0U);
  AcceptQueues longer;
  EXPECT_EQ(Found(longer, {1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 7, 8}), 1U);
}

// The caller may leave out listeners without a connection in the queue.
TEST(AcceptQueuesTest, AListenerThatIsNotListedBeginsAnew) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6, 7}), 0U);
  EXPECT_EQ(Count(queues, {}, {}), 0U);
  EXPECT_EQ(Found(queues, {7, 8, 9, 10, 11, 12, 13}), 0U);
  EXPECT_EQ(Found(queues, {14}), 1U);
  EXPECT_EQ(Count(queues, {}, {}), 0U);
  EXPECT_FALSE(queues.Knows(Waiting(14))) << "it was closed";
  EXPECT_EQ(queues.not_accepting(), 0U);
}

TEST(AcceptQueuesTest, AnotherSocketOnThePortBeginsAnew) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6, 7}), 0U);
  Listener other = Waiting(8);
  other.inode = kInode + 1;
  EXPECT_EQ(Count(queues, {other}, Connections(1, 8)), 0U);
  EXPECT_FALSE(queues.Knows(other));
}

TEST(AcceptQueuesTest, JudgesEachSocketOfAPort) {
  AcceptQueues queues;
  Listener other = Waiting(1);
  other.inode = kInode + 1;
  const std::vector<WaitingConnection> connections = Connections(1, 20);
  for (uint32_t i = 1; i <= AcceptQueues::kLooks; ++i) {
    EXPECT_EQ(Count(queues, {Waiting(i), other}, connections), 0U);
  }
  const auto found = Look(queues, {Waiting(100), other}, connections);
  ASSERT_TRUE(found.ok());
  ASSERT_THAT(*found, SizeIs(1));
  EXPECT_EQ(found->front().inode, kInode);
}

TEST(AcceptQueuesTest, IgnoresUdpAndSocketsWithoutAnInode) {
  AcceptQueues queues;
  for (uint32_t i = 1; i <= 2 * AcceptQueues::kLooks; ++i) {
    Listener udp = Waiting(i);
    udp.key.protocol = Protocol::kUdp;
    Listener subflow = Waiting(i);
    subflow.inode = 0;
    EXPECT_EQ(Count(queues, {udp, subflow}, Connections(1, i)), 0U);
  }
}

TEST(AcceptQueuesTest, RemembersALimitedNumberOfSockets) {
  AcceptQueues queues;
  size_t found = 0;
  for (uint32_t look = 0; look <= AcceptQueues::kLooks; ++look) {
    std::vector<Listener> listeners(2 * AcceptQueues::kMaxSockets, Waiting(look + 1));
    for (size_t i = 0; i < listeners.size(); ++i) listeners[i].inode = i + 1;
    found += Count(queues, listeners, Connections(1, 1));
  }
  EXPECT_EQ(found, AcceptQueues::kMaxSockets);
  EXPECT_EQ(queues.not_accepting(), AcceptQueues::kMaxSockets);
}

}  // namespace
}  // namespace npg::core::accept_queue_test
