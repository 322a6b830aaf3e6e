// SPDX-License-Identifier: Apache-2.0
#include "base/thread.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): sigset_t's functions are POSIX
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace npg::base::thread_test {
namespace {

bool IsBlocked(int signal) {
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

TEST(StartThread, SetsTheNameAndBlocksSignals) {
  std::string name;
  bool term_blocked = false;
  absl::StatusOr<std::thread> thread = StartThread("npg-test", [&] {
    std::array<char, 16> buffer = {};
    pthread_getname_np(pthread_self(), buffer.data(), buffer.size());
    name = buffer.data();
    term_blocked = IsBlocked(SIGTERM);
  });
  ASSERT_TRUE(thread.ok()) << thread.status();
  thread->join();
  EXPECT_EQ(name, "npg-test");
  EXPECT_TRUE(term_blocked);
  EXPECT_FALSE(IsBlocked(SIGTERM)) << "in the thread that started it";
}

TEST(StartThread, CutsALongName) {
  std::string name;
  absl::StatusOr<std::thread> thread = StartThread("a-name-of-a-thread", [&] {
    std::array<char, 16> buffer = {};
    pthread_getname_np(pthread_self(), buffer.data(), buffer.size());
    name = buffer.data();
  });
  ASSERT_TRUE(thread.ok()) << thread.status();
  thread->join();
  EXPECT_EQ(name, "a-name-of-a-thr");
}

// In its own process at the limit of processes, which applies to all users but root.
int StartAtTheLimit() {
  constexpr uid_t kNobody = 65534;
  if (geteuid() == 0 && setresuid(kNobody, kNobody, kNobody) != 0) return 2;
  const rlimit none = {.rlim_cur = 0, .rlim_max = 0};
  if (setrlimit(RLIMIT_NPROC, &none) != 0) return 3;
  absl::StatusOr<std::thread> thread = StartThread("npg-test", [] {});
  if (thread.ok()) {
    thread->join();
    return 4;
  }
  if (!absl::IsResourceExhausted(thread.status())) return 5;
  return IsBlocked(SIGTERM) ? 6 : 0;
}

TEST(StartThread, ReportsAFailureToStart) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) _exit(StartAtTheLimit());
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "terminated by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace npg::base::thread_test
