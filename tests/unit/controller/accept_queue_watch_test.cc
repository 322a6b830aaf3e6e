// SPDX-License-Identifier: Apache-2.0
#include "controller/accept_queue_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "core/accept_queue.h"
#include "core/desired_state.h"
#include "core/listener.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "log/health.h"
#include "log/log.h"
#include "node/sock_diag.h"

namespace npg::controller::accept_queue_watch_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint16_t kPort = 33589;
constexpr std::array<uint8_t, 16> kLoopback = {0, 0, 0,    0,    0,   0, 0, 0,
                                               0, 0, 0xff, 0xff, 127, 0, 0, 1};

// A listener of root, as noted on its socket, with a full queue.
core::Listener Full(uint16_t port = kPort) {
  core::Listener listener;
  listener.key = {port, core::Protocol::kTcp};
  listener.address = kLoopback;
  listener.inode = port;
  listener.accept_queue = 3;
  listener.accept_limit = 2;
  listener.binder = core::Binder{812, "holder", 0, 77, port};
  listener.noted = true;
  return listener;
}

class AcceptQueueWatchTest : public ::testing::Test {
 protected:
  AcceptQueueWatchTest() {
    for (uint16_t port = kPort; port < kPort + 10; ++port) {
      ports_[{port, core::Protocol::kTcp}] = core::PortEntry();
    }
  }

  // The lines that `looks` looks log.
  std::vector<std::string> Look(int looks = 1) {
    EXPECT_TRUE(log::SetUpLog("info", log::LogFormat::kText).ok());
    ::testing::internal::CaptureStderr();
    for (int i = 0; i < looks; ++i) watch_.Look(ports_, {});
    return absl::StrSplit(::testing::internal::GetCapturedStderr(), '\n', absl::SkipEmpty());
  }

  std::optional<size_t> NotAccepting() const { return health_.Read().not_accepting; }

  core::PortEntries ports_;
  core::OwnerRules rules_;
  log::Health health_;
  std::vector<core::Listener> listeners_;
  absl::Status listeners_status_;
  absl::Status waiting_status_;
  bool busy_ = false;      // each listener accepts all connections between two looks
  uint64_t accepted_ = 0;  // by each busy listener
  int lists_ = 0;          // of connections

  absl::StatusOr<std::vector<core::Listener>> Listeners(
      absl::FunctionRef<bool(const core::PortKey&)> wanted, node::KeepListener keep) const {
    if (!listeners_status_.ok()) return listeners_status_;
    std::vector<core::Listener> found;
    for (const core::Listener& listener : listeners_) {
      if (wanted(listener.key) && keep(listener)) found.push_back(listener);
    }
    return found;
  }

  // One for each port.
  absl::StatusOr<std::vector<core::WaitingConnection>> Connections(
      const core::WaitingQuery& query) {
    ++lists_;
    if (!waiting_status_.ok()) return waiting_status_;
    if (busy_) ++accepted_;
    std::vector<core::WaitingConnection> found;
    for (const uint16_t port : query.ports) {
      found.push_back({port, kLoopback, uint64_t{port} + (accepted_ << 16U)});
    }
    return found;
  }

  AcceptQueueWatch watch_{
      AcceptQueueWatch::Lists{
          [this](absl::FunctionRef<bool(const core::PortKey&)> wanted, node::KeepListener keep) {
            return Listeners(wanted, keep);
          },
          [this](const core::WaitingQuery& query) { return Connections(query); }},
      rules_, health_};
};

TEST_F(AcceptQueueWatchTest, LogsAListenerThatDoesNotAcceptOnce) {
  EXPECT_EQ(NotAccepting(), std::nullopt) << "before the first look";
  listeners_ = {Full()};
  EXPECT_THAT(Look(core::AcceptQueues::kLooks - 1), IsEmpty());
  EXPECT_EQ(NotAccepting(), 0U);
  EXPECT_THAT(Look(),
              ElementsAre(AllOf(
                  HasSubstr("holder[812] does not accept on 127.0.0.1 port 33589/tcp, which is a "
                            "NodePort: 3 connections wait to be accepted (backlog 2)"),
                  HasSubstr("run with --ignore-process +holder"), HasSubstr("event=not_accepting"),
                  HasSubstr("waiting=3"))));
  EXPECT_EQ(NotAccepting(), 1U);
  EXPECT_THAT(Look(2 * core::AcceptQueues::kLooks), IsEmpty());
  EXPECT_EQ(NotAccepting(), 1U);
  // Another socket on the port.
  listeners_[0].inode = 1;
  EXPECT_THAT(Look(core::AcceptQueues::kLooks), SizeIs(1));
}

TEST_F(AcceptQueueWatchTest, ABusyServerIsNotLogged) {
  busy_ = true;
  listeners_ = {Full()};
  EXPECT_THAT(Look(4 * core::AcceptQueues::kLooks), IsEmpty());
  EXPECT_EQ(NotAccepting(), 0U);
  EXPECT_GT(lists_, 1);
}

TEST_F(AcceptQueueWatchTest, ListsNoConnectionsWithoutASuspect) {
  listeners_ = {Full()};
  listeners_[0].accept_limit = 3;
  EXPECT_THAT(Look(2 * core::AcceptQueues::kLooks), IsEmpty());
  EXPECT_EQ(lists_, 0);
  EXPECT_EQ(NotAccepting(), 0U);
}

// The metric is absent then, and the looks that were made still count.
TEST_F(AcceptQueueWatchTest, AnErrorKeepsWhatIsKnown) {
  for (absl::Status* status : {&listeners_status_, &waiting_status_}) {
    listeners_ = {Full()};
    listeners_[0].inode = status == &waiting_status_ ? 1 : 2;
    EXPECT_THAT(Look(core::AcceptQueues::kLooks - 1), IsEmpty());
    *status = absl::UnavailableError("the kernel is busy");
    EXPECT_THAT(Look(), ElementsAre(HasSubstr("the kernel is busy")));
    EXPECT_EQ(NotAccepting(), std::nullopt);
    *status = absl::OkStatus();
    const std::vector<std::string> lines = Look();
    EXPECT_THAT(lines, ::testing::Contains(HasSubstr("does not accept")));
    EXPECT_EQ(NotAccepting(), 1U);
  }
}

TEST_F(AcceptQueueWatchTest, LogsALimitedNumberOfLines) {
  for (uint16_t i = 0; i < 6; ++i) listeners_.push_back(Full(static_cast<uint16_t>(kPort + i)));
  const std::vector<std::string> lines = Look(core::AcceptQueues::kLooks);
  ASSERT_THAT(lines, SizeIs(6));
  for (size_t i = 0; i < 5; ++i) EXPECT_THAT(lines[i], HasSubstr("holder[812] does not accept"));
  EXPECT_THAT(lines[5], AllOf(HasSubstr("1 more listener does not accept"), HasSubstr("count=1")));
  EXPECT_EQ(NotAccepting(), 6U);
}

TEST_F(AcceptQueueWatchTest, ListenersThatAreNotGuardedAreLeftOut) {
  core::Listener untrusted = Full(kPort);
  untrusted.binder->uid = 1000;
  core::Listener ignored = Full(kPort + 1);
  ignored.binder->comm = "ignored";
  core::Listener elsewhere = Full(kPort + 2);
  elsewhere.address[15] = 5;
  elsewhere.address[12] = 10;
  core::Listener no_nodeport = Full(kPort + 10);
  core::Listener without_record = Full(kPort + 3);
  without_record.noted = false;
  without_record.binder.reset();
  rules_.policy.ignored = {"ignored"};
  listeners_ = {untrusted, ignored, elsewhere, no_nodeport, without_record};
  EXPECT_THAT(Look(2 * core::AcceptQueues::kLooks), IsEmpty());
  EXPECT_EQ(lists_, 0);
  EXPECT_EQ(NotAccepting(), 0U);
}

}  // namespace
}  // namespace npg::controller::accept_queue_watch_test
