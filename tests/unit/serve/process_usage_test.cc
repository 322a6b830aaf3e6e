// SPDX-License-Identifier: Apache-2.0
#include "serve/process_usage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace npg::serve::process_usage_test {
namespace {

using ::testing::HasSubstr;

// A fake procfs with the files that the reader uses.
class ProcessUsageTest : public ::testing::Test {
 protected:
  ProcessUsageTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "process_usage_XXXXXX");
    root_ = mkdtemp(name.data());
    std::filesystem::create_directories(root_ / "self/fd");
    Write("stat", "cpu  1 2 3 4\nbtime 1793600000\nprocesses 9\n");
    Write("self/limits",
          "Limit                     Soft Limit           Hard Limit           Units     \n"
          "Max cpu time              unlimited            unlimited            seconds   \n"
          "Max open files            1024                 524288               files     \n");
    WriteStat("nodeport-guard");
    for (const char* fd : {"0", "1", "2", "17"}) Write(absl::StrCat("self/fd/", fd), "");
  }
  ~ProcessUsageTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(root_ / name) << text;
  }
  // 150 ticks in user and 50 in kernel mode, 3 threads, started at 1000 ticks.
  void WriteStat(const std::string& comm) {
    Write("self/stat",
          absl::StrCat("4711 (", comm,
                       ") S 1 4711 4711 0 -1 4194560 900 0 1 0 150 50 7 8 20 0 3 0 1000 90112000 "
                       "2048 18446744073709551615 1 1 0 0 0 0 0 0 0\n"));
  }
  absl::StatusOr<ProcessUsage> Read() const { return ReadProcessUsage(root_.string()); }

  std::filesystem::path root_;
};

TEST_F(ProcessUsageTest, ReadsAll) {
  const absl::StatusOr<ProcessUsage> usage = Read();
  ASSERT_TRUE(usage.ok()) << usage.status();
  const auto hertz = static_cast<double>(sysconf(_SC_CLK_TCK));
  EXPECT_EQ(usage->cpu, absl::Seconds(200 / hertz));
  EXPECT_EQ(usage->started, absl::FromUnixSeconds(1793600000) + absl::Seconds(1000 / hertz));
  EXPECT_EQ(usage->threads, 3U);
  EXPECT_EQ(usage->virtual_bytes, 90112000U);
  EXPECT_EQ(usage->resident_bytes, 2048U * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(usage->open_fds, 4U);
  EXPECT_EQ(usage->max_fds, 1024U);
}

TEST_F(ProcessUsageTest, AcceptsAnyProcessName) {
  WriteStat(") R 1 (x");
  const absl::StatusOr<ProcessUsage> usage = Read();
  ASSERT_TRUE(usage.ok()) << usage.status();
  EXPECT_EQ(usage->threads, 3U);
}

TEST_F(ProcessUsageTest, NoLimit) {
  Write("self/limits",
        "Max open files            unlimited            unlimited            files\n");
  const absl::StatusOr<ProcessUsage> usage = Read();
  ASSERT_TRUE(usage.ok()) << usage.status();
  EXPECT_EQ(usage->max_fds, std::numeric_limits<uint64_t>::max());
}

TEST_F(ProcessUsageTest, NamesAMissingFile) {
  for (const char* name : {"stat", "self/stat", "self/limits", "self/fd"}) {
    const std::filesystem::path path = root_ / name;
    const std::filesystem::path away = root_ / "away";
    std::filesystem::rename(path, away);
    EXPECT_THAT(std::string(Read().status().message()), HasSubstr(path.string()));
    std::filesystem::rename(away, path);
  }
  EXPECT_TRUE(Read().ok());
}

TEST_F(ProcessUsageTest, RefusesInvalidContent) {
  for (const char* text : {"", "1 (x", "1 (x) S 1 2 3",
                           "1 (x) S 1 2 3 4 5 6 7 8 9 10 a b 1 2 3 4 "
                           "5 6 7 8 9 10 11"}) {
    Write("self/stat", text);
    EXPECT_FALSE(Read().ok()) << text;
  }
  WriteStat("x");
  Write("stat", "cpu 1\n");
  EXPECT_FALSE(Read().ok());
  Write("stat", "btime 5\n");
  Write("self/limits", "Max open files \n");
  EXPECT_FALSE(Read().ok());
}

TEST(ProcessUsage, OfThisProcess) {
  const absl::StatusOr<ProcessUsage> usage = ReadProcessUsage();
  ASSERT_TRUE(usage.ok()) << usage.status();
  EXPECT_GE(usage->threads, 1U);
  EXPECT_GT(usage->open_fds, 2U);
  EXPECT_GT(usage->resident_bytes, 100'000U);
  EXPECT_GT(usage->virtual_bytes, usage->resident_bytes);
  EXPECT_LE(usage->started, absl::Now() + absl::Seconds(2));
  EXPECT_GT(usage->started, absl::Now() - absl::Hours(1));
}

}  // namespace
}  // namespace npg::serve::process_usage_test
