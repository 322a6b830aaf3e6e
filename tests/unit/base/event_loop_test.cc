// SPDX-License-Identifier: Apache-2.0
#include "base/event_loop.h"

#include <fcntl.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigaction() is POSIX, not <csignal>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace npg::base::event_loop_test {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

// An fd that stays readable until it is read.
UniqueFd Readable() { return UniqueFd(eventfd(1, EFD_CLOEXEC)); }
UniqueFd Silent() { return UniqueFd(eventfd(0, EFD_CLOEXEC)); }

class EventLoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
  }

  void Run() {
    const absl::Status status = loop_->Run();
    EXPECT_TRUE(status.ok()) << status;
  }
  void Watch(int fd, uint32_t events, EventLoop::FdCallback callback) {
    const absl::Status status = loop_->AddFd(fd, events, std::move(callback));
    EXPECT_TRUE(status.ok()) << status;
  }
  // Runs callbacks that are ready or due now, and none that become so later.
  void RunOnce() {
    loop_->After(absl::ZeroDuration(), [this] { loop_->Stop(); });
    Run();
  }

  std::unique_ptr<EventLoop> loop_;
};

using EventLoopFd = EventLoopTest;
using EventLoopTimer = EventLoopTest;

TEST_F(EventLoopFd, CallsBackWithTheReadyEvents) {
  const UniqueFd fd = Readable();
  uint32_t seen = 0;
  Watch(fd.get(), EPOLLIN | EPOLLOUT, [&](uint32_t events) {
    seen = events;
    loop_->Stop();
  });
  Run();
  EXPECT_EQ(seen, EPOLLIN | EPOLLOUT);
}

TEST_F(EventLoopFd, LevelTriggered) {
  const UniqueFd fd = Readable();
  int calls = 0;
  Watch(fd.get(), EPOLLIN, [&](uint32_t) {
    if (++calls == 3) loop_->Stop();
  });
  Run();
  EXPECT_EQ(calls, 3);
}

TEST_F(EventLoopFd, ReportsAHangUpThatWasNotRequested) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  writer.Reset();
  uint32_t seen = 0;
  Watch(reader.get(), 0, [&](uint32_t events) {
    seen = events;
    loop_->Stop();
  });
  Run();
  EXPECT_EQ(seen, EPOLLHUP);
}

TEST_F(EventLoopFd, RefusesDescriptorsThatEpollCannotWatch) {
  const absl::Status closed = loop_->AddFd(-1, EPOLLIN, [](uint32_t) {});
  EXPECT_EQ(closed.message(), "watch file descriptor -1: Bad file descriptor");

  const UniqueFd file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(loop_->AddFd(file.get(), EPOLLIN, [](uint32_t) {}).code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(EventLoopFd, RefusesTheSameTwiceAndKeepsTheFirst) {
  const UniqueFd fd = Readable();
  std::string called;
  Watch(fd.get(), EPOLLIN, [&](uint32_t) {
    called += "first";
    loop_->Stop();
  });
  const absl::Status twice = loop_->AddFd(fd.get(), EPOLLIN, [&](uint32_t) { called += "second"; });
  EXPECT_EQ(twice.code(), absl::StatusCode::kAlreadyExists);
  Run();
  EXPECT_EQ(called, "first");
}

TEST_F(EventLoopFd, RemovedIsNotCalled) {
  const UniqueFd fd = Readable();
  int calls = 0;
  Watch(fd.get(), EPOLLIN, [&](uint32_t) { ++calls; });
  loop_->RemoveFd(fd.get());
  loop_->RemoveFd(fd.get());  // once more is harmless
  loop_->RemoveFd(12345);     // so is an unknown fd
  RunOnce();
  EXPECT_EQ(calls, 0);
  Watch(fd.get(), EPOLLIN, [&](uint32_t) {
    ++calls;
    loop_->Stop();
  });
  Run();
  EXPECT_EQ(calls, 1);
}

// The callback's own state must outlive the call in which it is removed.
TEST_F(EventLoopFd, MayRemoveItself) {
  const UniqueFd fd = Readable();
  auto state = std::make_shared<std::string>("alive");
  const std::weak_ptr<std::string> watcher = state;
  Watch(fd.get(), EPOLLIN, [this, &fd, state = std::move(state)](uint32_t) {
    loop_->RemoveFd(fd.get());
    EXPECT_EQ(*state, "alive");
    loop_->Stop();
  });
  Run();
  EXPECT_TRUE(watcher.expired());  // and not a moment longer
}

// Two fds are ready in one batch; the first callback removes the other fd.
TEST_F(EventLoopFd, MayRemoveAnotherReadyFdOfTheBatch) {
  const UniqueFd a = Readable();
  const UniqueFd b = Readable();
  std::vector<char> calls;
  Watch(a.get(), EPOLLIN, [&](uint32_t) {
    calls.push_back('a');
    loop_->RemoveFd(b.get());
  });
  Watch(b.get(), EPOLLIN, [&](uint32_t) {
    calls.push_back('b');
    loop_->RemoveFd(a.get());
  });
  RunOnce();
  EXPECT_EQ(calls.size(), 1U);
}

// The first callback closes the other fd and opens a new one, which gets the same number
// and is not ready. The event in the batch belongs to the closed fd.
TEST_F(EventLoopFd, EventOfAClosedFdIsNotReportedForItsReusedNumber) {
  std::array<UniqueFd, 2> fds = {Readable(), Readable()};
  UniqueFd successor;
  int successor_calls = 0;
  for (size_t i = 0; i < fds.size(); ++i) {
    Watch(fds.at(i).get(), EPOLLIN, [&, i](uint32_t) {
      loop_->RemoveFd(fds.at(i).get());
      UniqueFd& other = fds.at(1 - i);
      const int number = other.get();
      loop_->RemoveFd(number);
      other.Reset();
      successor = Silent();
      ASSERT_EQ(successor.get(), number);
      Watch(number, EPOLLIN, [&](uint32_t) { ++successor_calls; });
    });
  }
  RunOnce();
  EXPECT_TRUE(successor);
  EXPECT_EQ(successor_calls, 0);
}

TEST_F(EventLoopFd, MayAddOneFromACallback) {
  const UniqueFd a = Readable();
  const UniqueFd b = Readable();
  Watch(a.get(), EPOLLIN, [&](uint32_t) {
    loop_->RemoveFd(a.get());
    Watch(b.get(), EPOLLIN, [&](uint32_t) { loop_->Stop(); });
  });
  Run();
}

TEST_F(EventLoopFd, ServesMoreFdsThanFitInOneBatch) {
  std::vector<UniqueFd> fds;
  std::vector<int> calls(200);
  for (size_t i = 0; i < calls.size(); ++i) {
    fds.push_back(Readable());
    Watch(fds.back().get(), EPOLLIN, [&, i](uint32_t) {
      ++calls.at(i);
      loop_->RemoveFd(fds.at(i).get());
      if (std::count(calls.begin(), calls.end(), 0) == 0) loop_->Stop();
    });
  }
  Run();
  EXPECT_THAT(calls, ::testing::Each(1));
}

TEST_F(EventLoopFd, AfterStopTheRestOfTheBatchWaitsForTheNextRun) {
  const UniqueFd a = Readable();
  const UniqueFd b = Readable();
  std::vector<char> calls;
  Watch(a.get(), EPOLLIN, [&](uint32_t) {
    calls.push_back('a');
    loop_->RemoveFd(a.get());
    loop_->Stop();
  });
  Watch(b.get(), EPOLLIN, [&](uint32_t) {
    calls.push_back('b');
    loop_->RemoveFd(b.get());
    loop_->Stop();
  });
  Run();
  EXPECT_EQ(calls.size(), 1U);
  Run();
  EXPECT_THAT(calls, UnorderedElementsAre('a', 'b'));
}

TEST_F(EventLoopTimer, NeverBeforeItsTime) {
  const uint64_t start = BootNanoseconds();
  uint64_t fired = 0;
  loop_->After(absl::Milliseconds(20), [&] {
    fired = BootNanoseconds();
    loop_->Stop();
  });
  Run();
  EXPECT_GE(fired - start, 20'000'000U);
}

TEST_F(EventLoopTimer, InTheOrderInWhichTheyAreDue) {
  // Overdue and hours apart, so that a pause between two calls of After() cannot swap them.
  std::vector<int> order;
  for (const int hours_ago : {1, 3, 5, 2, 4, 6}) {
    loop_->After(-absl::Hours(hours_ago), [&, hours_ago] { order.push_back(hours_ago); });
  }
  // A timer in the future runs after all timers that are due.
  loop_->After(absl::Milliseconds(20), [&] {
    order.push_back(0);
    loop_->Stop();
  });
  Run();
  EXPECT_THAT(order, ElementsAre(6, 5, 4, 3, 2, 1, 0));
}

TEST_F(EventLoopTimer, PastAndZeroDelaysAreDueAtOnce) {
  std::vector<std::string> fired;
  loop_->After(-absl::Hours(1), [&] { fired.emplace_back("past"); });
  loop_->After(absl::ZeroDuration(), [&] {
    fired.emplace_back("zero");
    loop_->Stop();
  });
  Run();
  EXPECT_THAT(fired, ElementsAre("past", "zero"));
}

TEST_F(EventLoopTimer, FarAwayDoesNotOverflow) {
  loop_->After(absl::InfiniteDuration(), [] { FAIL(); });
  loop_->After(absl::Hours(24) * 365 * 1000, [] { FAIL(); });
  RunOnce();
}

TEST_F(EventLoopTimer, FiresOnce) {
  int calls = 0;
  loop_->After(absl::ZeroDuration(), [&] { ++calls; });
  RunOnce();
  RunOnce();
  EXPECT_EQ(calls, 1);
}

TEST_F(EventLoopTimer, NotBeforeRun) {
  bool fired = false;
  loop_->After(absl::ZeroDuration(), [&] { fired = true; });
  EXPECT_FALSE(fired);
  RunOnce();
  EXPECT_TRUE(fired);
}

TEST_F(EventLoopTimer, CancelledIsNotCalled) {
  const EventLoop::TimerId timer = loop_->After(absl::ZeroDuration(), [] { FAIL(); });
  loop_->Cancel(timer);
  loop_->Cancel(timer);  // once more is harmless
  loop_->Cancel(timer + 1000);
  RunOnce();
}

TEST_F(EventLoopTimer, CancellingAFiredTimerCancelsNoOther) {
  const EventLoop::TimerId first = loop_->After(absl::ZeroDuration(), [] {});
  RunOnce();
  bool fired = false;
  const EventLoop::TimerId second = loop_->After(absl::ZeroDuration(), [&] { fired = true; });
  EXPECT_NE(first, second);
  loop_->Cancel(first);
  RunOnce();
  EXPECT_TRUE(fired);
}

// Both are due in the same pass.
TEST_F(EventLoopTimer, MayCancelAnotherDueTimer) {
  EventLoop::TimerId second = 0;
  loop_->After(-absl::Seconds(2), [&] { loop_->Cancel(second); });
  second = loop_->After(-absl::Seconds(1), [] { FAIL(); });
  RunOnce();
}

TEST_F(EventLoopTimer, MayCancelItself) {
  EventLoop::TimerId self = 0;
  int calls = 0;
  self = loop_->After(absl::ZeroDuration(), [&] {
    ++calls;
    loop_->Cancel(self);
  });
  RunOnce();
  EXPECT_EQ(calls, 1);
}

// A timer that is always due must not keep fds from being served.
TEST_F(EventLoopTimer, ATimerThatRearmsItselfDoesNotStarveFds) {
  const UniqueFd fd = Readable();
  int ticks = 0;
  bool served = false;
  std::function<void()> tick = [&] {
    if (++ticks > 1000 || served) {
      loop_->Stop();
    } else {
      loop_->After(absl::ZeroDuration(), tick);
    }
  };
  tick();
  Watch(fd.get(), EPOLLIN, [&](uint32_t) { served = true; });
  Run();
  EXPECT_TRUE(served);
  EXPECT_LE(ticks, 3);
}

// An fd that is always ready must not keep timers from running.
TEST_F(EventLoopTimer, BusyFdDoesNotStarveTimers) {
  const UniqueFd fd = Readable();
  Watch(fd.get(), EPOLLIN, [](uint32_t) {});
  loop_->After(absl::Milliseconds(1), [&] { loop_->Stop(); });
  Run();
}

TEST_F(EventLoopTimer, AfterStopDueTimersWaitForTheNextRun) {
  std::vector<int> fired;
  loop_->After(-absl::Seconds(2), [&] {
    fired.push_back(1);
    loop_->Stop();
  });
  loop_->After(-absl::Seconds(1), [&] {
    fired.push_back(2);
    loop_->Stop();
  });
  Run();
  EXPECT_THAT(fired, ElementsAre(1));
  Run();
  EXPECT_THAT(fired, ElementsAre(1, 2));
}

TEST_F(EventLoopTest, StopBeforeRunEndsThatRunOnly) {
  bool fired = false;
  loop_->After(absl::ZeroDuration(), [&] {
    fired = true;
    loop_->Stop();
  });
  loop_->Stop();
  Run();
  EXPECT_FALSE(fired);
  Run();
  EXPECT_TRUE(fired);
}

// SIGALRM without SA_RESTART interrupts epoll_wait(); the loop continues.
TEST_F(EventLoopTest, SurvivesASignal) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {};
  ASSERT_EQ(sigaction(SIGALRM, &action, &before), 0);
  const itimerval often = {.it_interval = {0, 1000}, .it_value = {0, 1000}};
  ASSERT_EQ(setitimer(ITIMER_REAL, &often, nullptr), 0);
  loop_->After(absl::Milliseconds(20), [&] { loop_->Stop(); });
  Run();
  const itimerval off{};
  EXPECT_EQ(setitimer(ITIMER_REAL, &off, nullptr), 0);
  EXPECT_EQ(sigaction(SIGALRM, &before, nullptr), 0);
}

TEST_F(EventLoopTest, DestructionReleasesPendingCallbacks) {
  const UniqueFd fd = Readable();
  auto state = std::make_shared<int>(0);
  const std::weak_ptr<int> watcher = state;
  Watch(fd.get(), EPOLLIN, [state](uint32_t) {});
  loop_->After(absl::Hours(1), [state] {});
  state.reset();
  EXPECT_FALSE(watcher.expired());
  loop_.reset();
  EXPECT_TRUE(watcher.expired());
  EXPECT_EQ(fcntl(fd.get(), F_GETFD), FD_CLOEXEC);  // the caller still owns the fd
}

TEST(Clock, BootTimeIsMonotonicAndMapsToNow) {
  const uint64_t earlier = BootNanoseconds();
  const uint64_t later = BootNanoseconds();
  EXPECT_LE(earlier, later);
  const absl::Time base = TimeFromBoot(earlier);
  // The clocks are read at different times: allow for the time between.
  EXPECT_LT(absl::AbsDuration(TimeFromBoot(earlier + 3'600'000'000'000) - base - absl::Hours(1)),
            absl::Seconds(30));
}

}  // namespace
}  // namespace npg::base::event_loop_test
