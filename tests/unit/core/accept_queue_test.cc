// SPDX-License-Identifier: Apache-2.0
#include "core/accept_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"

namespace npg::core::accept_queue_test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint16_t kPort = 33589;
constexpr uint64_t kInode = 4242;

Listener Waiting(uint32_t waiting, uint32_t limit = 128) {
  Listener listener;
  listener.key = {kPort, Protocol::kTcp};
  listener.inode = kInode;
  listener.accept_queue = waiting;
  listener.accept_limit = limit;
  return listener;
}

// One look for each length of the queue; returns how often the listener was found.
size_t Found(AcceptQueues& queues, const std::vector<uint32_t>& lengths, uint32_t limit = 128) {
  size_t found = 0;
  for (const uint32_t length : lengths) found += queues.Look({Waiting(length, limit)}).size();
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
  EXPECT_EQ(Found(queues, {1, 1, 2, 2, 2, 3}), 0U);
  EXPECT_EQ(queues.not_accepting(), 0U);
  const std::vector<Listener> found = queues.Look({Waiting(3)});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].inode, kInode);
  EXPECT_EQ(found[0].accept_queue, 3U);
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
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6, 7}), 0U);
  EXPECT_EQ(queues.not_accepting(), 1U);
}

// As many connections may be accepted as arrive.
TEST(AcceptQueuesTest, AQueueThatStaysTheSameIsNotFoundUnlessItIsFull) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, std::vector<uint32_t>(20, 5)), 0U);
  AcceptQueues full;
  EXPECT_EQ(Found(full, std::vector<uint32_t>(AcceptQueues::kLooks, 129)), 1U);
}

TEST(AcceptQueuesTest, AQueueThatBecomesShorterBeginsAnew) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6, 5, 6, 7, 8, 9, 10}), 0U);
  EXPECT_EQ(Found(queues, {11}), 1U) << "the seventh look from the 5 on";
}

TEST(AcceptQueuesTest, AnEmptyQueueBeginsAnew) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6}), 0U);
  EXPECT_EQ(Found(queues, {7}), 1U);
}

// The caller may leave out listeners without a connection in the queue.
TEST(AcceptQueuesTest, AListenerThatIsNotListedBeginsAnew) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6}), 0U);
  EXPECT_THAT(queues.Look({}), IsEmpty());
  EXPECT_EQ(Found(queues, {7, 8, 9, 10, 11, 12}), 0U);
  EXPECT_EQ(Found(queues, {13}), 1U);
  EXPECT_THAT(queues.Look({}), IsEmpty());
  EXPECT_FALSE(queues.Knows(Waiting(13))) << "it was closed";
  EXPECT_EQ(queues.not_accepting(), 0U);
}

TEST(AcceptQueuesTest, AnotherSocketOnThePortBeginsAnew) {
  AcceptQueues queues;
  EXPECT_EQ(Found(queues, {1, 2, 3, 4, 5, 6}), 0U);
  Listener other = Waiting(7);
  other.inode = kInode + 1;
  EXPECT_THAT(queues.Look({other}), IsEmpty());
  EXPECT_FALSE(queues.Knows(other));
}

TEST(AcceptQueuesTest, JudgesEachSocketOfAPort) {
  AcceptQueues queues;
  Listener other = Waiting(1);
  other.inode = kInode + 1;
  for (uint32_t i = 1; i < AcceptQueues::kLooks; ++i) {
    EXPECT_THAT(queues.Look({Waiting(i), other}), IsEmpty());
  }
  const std::vector<Listener> found = queues.Look({Waiting(100), other});
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].inode, kInode);
}

TEST(AcceptQueuesTest, IgnoresUdpAndSocketsWithoutAnInode) {
  AcceptQueues queues;
  for (uint32_t i = 1; i <= 2 * AcceptQueues::kLooks; ++i) {
    Listener udp = Waiting(i);
    udp.key.protocol = Protocol::kUdp;
    Listener subflow = Waiting(i);
    subflow.inode = 0;
    EXPECT_THAT(queues.Look({udp, subflow}), IsEmpty());
  }
}

TEST(AcceptQueuesTest, RemembersALimitedNumberOfSockets) {
  AcceptQueues queues;
  size_t found = 0;
  for (uint32_t look = 1; look <= AcceptQueues::kLooks; ++look) {
    std::vector<Listener> listeners(2 * AcceptQueues::kMaxSockets, Waiting(look));
    for (size_t i = 0; i < listeners.size(); ++i) listeners[i].inode = i + 1;
    found += queues.Look(listeners).size();
  }
  EXPECT_EQ(found, AcceptQueues::kMaxSockets);
  EXPECT_EQ(queues.not_accepting(), AcceptQueues::kMaxSockets);
}

}  // namespace
}  // namespace npg::core::accept_queue_test
