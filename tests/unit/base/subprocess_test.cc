// SPDX-License-Identifier: Apache-2.0
#include "base/subprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill() is POSIX, not <csignal>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "testing/status_asserts.h"

namespace npg::base::subprocess_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class SubprocessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create();
    NPG_ASSERT_OK(loop);
    loop_ = *std::move(loop);
  }

  absl::StatusOr<std::string> Run(const std::string& script,
                                  const Subprocess::Limits& limits = {}) {
    absl::StatusOr<std::string> output = absl::UnknownError("not called back");
    absl::StatusOr<std::unique_ptr<Subprocess>> process = Subprocess::Start(
        *loop_, {"/bin/sh", "-c", script}, limits, [&](absl::StatusOr<std::string> result) {
          output = std::move(result);
          *process = nullptr;  // the owner may destroy it in the callback
          loop_->Stop();
        });
    if (!process.ok()) return process.status();
    NPG_EXPECT_OK(loop_->Run());
    return output;
  }

  // Appends standard output to `printed` as it comes.
  absl::StatusOr<std::string> Stream(const std::string& script, std::string& printed,
                                     const Subprocess::Limits& limits = {}) {
    absl::StatusOr<std::string> result = absl::UnknownError("not called back");
    absl::StatusOr<std::unique_ptr<Subprocess>> process = Subprocess::Start(
        *loop_, {"/bin/sh", "-c", script}, limits,
        [&](absl::string_view piece) { absl::StrAppend(&printed, piece); },
        [&](absl::StatusOr<std::string> end) {
          result = std::move(end);
          *process = nullptr;
          loop_->Stop();
        });
    if (!process.ok()) return process.status();
    NPG_EXPECT_OK(loop_->Run());
    return result;
  }

  std::unique_ptr<EventLoop> loop_;
};

// Whether the process has ended; it may be a zombie that init has yet to reap.
bool IsGone(pid_t pid) {
  std::ifstream stat(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  std::getline(stat, line);
  return !stat || line.find(") Z ") != std::string::npos;
}

TEST_F(SubprocessTest, ReturnsStandardOutput) {
  EXPECT_EQ(*Run("echo hello; echo not this >&2"), "hello\n");
  EXPECT_EQ(*Run(":"), "");
}

TEST_F(SubprocessTest, ReturnsAllOfALargeOutput) {
  const absl::StatusOr<std::string> output = Run("seq 1 1000000");
  NPG_ASSERT_OK(output);
  EXPECT_EQ(output->size(), 6888896U);
  EXPECT_TRUE(output->ends_with("\n1000000\n"));
}

TEST_F(SubprocessTest, PassesOnStandardOutput) {
  std::string printed;
  const absl::StatusOr<std::string> end = Stream("seq 1 1000000; echo not this >&2", printed);
  NPG_ASSERT_OK(end);
  EXPECT_EQ(*end, "");
  EXPECT_EQ(printed.size(), 6888896U);
  EXPECT_TRUE(printed.ends_with("\n1000000\n"));
}

TEST_F(SubprocessTest, PassesOnStandardOutputBeforeTheCommandEnds) {
  // `read` ends when the test, which has seen the first line, opens and closes the pipe.
  std::string folder = ::testing::TempDir() + "npg-subprocess-XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string fifo = folder + "/go";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  std::vector<std::string> pieces;
  absl::StatusOr<std::string> result = absl::UnknownError("not called back");
  const absl::StatusOr<std::unique_ptr<Subprocess>> process = Subprocess::Start(
      *loop_, {"/bin/sh", "-c", "echo first; read line < " + fifo + "; echo $line"}, {},
      [&](absl::string_view piece) {
        if (pieces.empty()) std::ofstream(fifo) << "second\n";
        pieces.emplace_back(piece);
      },
      [&](absl::StatusOr<std::string> end) {
        result = std::move(end);
        loop_->Stop();
      });
  NPG_ASSERT_OK(process);
  NPG_EXPECT_OK(loop_->Run());
  NPG_EXPECT_OK(result);
  EXPECT_THAT(pieces, ElementsAre("first\n", "second\n"));
  std::filesystem::remove_all(folder);
}

TEST_F(SubprocessTest, PassesOnNoMoreThanTheLimit) {
  std::string printed;
  EXPECT_EQ(Stream("head -c 1001 /dev/zero", printed,
                   {.timeout = absl::Seconds(30), .output_bytes = 1000})
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(printed.size(), 1000U);
  printed.clear();
  EXPECT_EQ(Stream("echo half; echo why >&2; exit 1", printed).status().message(),
            "/bin/sh failed with exit code 1: why");
  EXPECT_EQ(printed, "half\n");
}

TEST_F(SubprocessTest, ReportsHowACommandFailed) {
  const absl::Status status = Run("echo one >&2; echo two >&2; exit 3").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status.message(), "/bin/sh failed with exit code 3: one; two");
  EXPECT_EQ(Run("exit 1").status().message(), "/bin/sh failed with exit code 1");
  EXPECT_EQ(Run("kill -SEGV $$").status().message(), "/bin/sh was killed by signal 11");
}

TEST_F(SubprocessTest, CutsLongStandardErrorWithoutBlocking) {
  const absl::Status status = Run("seq 1 200000 >&2; exit 1").status();
  EXPECT_THAT(std::string(status.message()), StartsWith("/bin/sh failed with exit code 1: 1; 2;"));
  EXPECT_LT(status.message().size(), 1500U);
  EXPECT_EQ(*Run("seq 1 200000 >&2; echo fine"), "fine\n");
}

TEST_F(SubprocessTest, KillsACommandThatTakesTooLong) {
  const absl::Status status =
      Run("echo $$; sleep 1000", {.timeout = absl::Milliseconds(100)}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status.message(), "/bin/sh did not end within 100ms and was killed");
}

TEST_F(SubprocessTest, KillsACommandThatPrintsTooMuch) {
  const absl::Status status =
      Run("exec cat /dev/zero", {.timeout = absl::Seconds(30), .output_bytes = 1 << 20}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Run("head -c 1001 /dev/zero", {.timeout = absl::Seconds(30), .output_bytes = 1000})
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
  NPG_EXPECT_OK(
      Run("head -c 1000 /dev/zero", {.timeout = absl::Seconds(30), .output_bytes = 1000}));
}

TEST_F(SubprocessTest, FailsIfTheCommandDoesNotExist) {
  const absl::StatusOr<std::unique_ptr<Subprocess>> process =
      Subprocess::Start(*loop_, {"/no/such/command"}, {},
                        [](const absl::StatusOr<std::string>&) { FAIL() << "called back"; });
  EXPECT_EQ(process.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(process.status().message()), HasSubstr("run /no/such/command: No such"));
  EXPECT_EQ(Subprocess::Start(*loop_, {}, {}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SubprocessTest, LeavesNothingBehind) {
  // A child that outlives the command keeps its pipe open. Subprocess must kill it, not
  // wait for it.
  const absl::StatusOr<std::string> output = Run("sleep 1000 & echo $!");
  NPG_ASSERT_OK(output);
  const auto pid = static_cast<pid_t>(std::atoi(output->c_str()));
  ASSERT_GT(pid, 0);
  for (int i = 0; i < 1000 && !IsGone(pid); ++i) usleep(10'000);
  EXPECT_TRUE(IsGone(pid));
}

TEST_F(SubprocessTest, TheDestructorKills) {
  std::string pattern = ::testing::TempDir() + "npg-subprocess-XXXXXX";
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  const std::string file = pattern + "/pid";
  absl::StatusOr<std::unique_ptr<Subprocess>> process = Subprocess::Start(
      *loop_,
      {"/bin/sh", "-c",
       "echo $$ > " + file + ".new; mv " + file + ".new " + file + "; exec sleep 1000"},
      {}, [](const absl::StatusOr<std::string>&) { FAIL() << "called back"; });
  NPG_ASSERT_OK(process);
  for (int i = 0; i < 1000 && !std::filesystem::exists(file); ++i) usleep(10'000);
  *process = nullptr;
  pid_t pid = 0;
  std::ifstream(file) >> pid;
  ASSERT_GT(pid, 0);
  EXPECT_EQ(kill(pid, 0), -1);
  EXPECT_EQ(errno, ESRCH);
  const auto timer = loop_->After(absl::Milliseconds(50), [this] { loop_->Stop(); });
  NPG_EXPECT_OK(loop_->Run());
  loop_->Cancel(timer);
  std::filesystem::remove_all(pattern);
}

TEST_F(SubprocessTest, RunsInACleanEnvironment) {
  setenv("LC_ALL", "de_DE.UTF-8", 1);
  setenv("NPG_TEST", "kept", 1);
  EXPECT_EQ(*Run("echo $LC_ALL $NPG_TEST; cat"), "C kept\n");
  sigset_t blocked, old;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &blocked, &old), 0);
  const absl::StatusOr<std::string> output = Run("grep SigBlk /proc/self/status");
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &old, nullptr), 0);
  EXPECT_EQ(*output, "SigBlk:\t0000000000000000\n");
}

}  // namespace
}  // namespace npg::base::subprocess_test
