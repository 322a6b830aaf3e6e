// SPDX-License-Identifier: Apache-2.0
#include "base/small_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "testing/status_asserts.h"
#include "testing/testdata.h"

namespace npg::base::small_file_test {
namespace {

using testing::TempFolder;
using testing::WriteFile;

using ::testing::EndsWith;
using ::testing::StartsWith;
using testing::TempFolder;
using testing::WriteFile;

TEST(SmallFileTest, ReadsUpToItsLimit) {
  const TempFolder folder;
  const std::string path = folder / "file";
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{8192}}) {
    const std::string content(size, 'x');
    WriteFile(path, content);
    NPG_ASSERT_OK_AND_ASSIGN(const std::string read, ReadSmallFile(path, 8192));
    EXPECT_EQ(read, content);
  }
  WriteFile(path, std::string(8193, 'x'));
  const absl::Status status = ReadSmallFile(path, 8192).status();
  EXPECT_EQ(status, absl::ResourceExhaustedError(path + ": is larger than 8 KiB"));
}

TEST(SmallFileTest, KeepsEveryByte) {
  const TempFolder folder;
  const std::string content("\0\r\n\xff\0", 5);
  WriteFile(folder / "file", content);
  NPG_ASSERT_OK_AND_ASSIGN(const std::string read, ReadSmallFile(folder / "file", 5));
  EXPECT_EQ(read, content);
}

TEST(SmallFileTest, FollowsSymbolicLinksAsMountedSecretsHaveThem) {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "..2026");
  WriteFile(folder / "..2026/token", "one");
  std::filesystem::create_symlink("..2026", folder / "..data");
  std::filesystem::create_symlink("..data/token", folder / "token");
  NPG_ASSERT_OK_AND_ASSIGN(const std::string read, ReadSmallFile(folder / "token", 10));
  EXPECT_EQ(read, "one");
}

TEST(SmallFileTest, RefusesOtherFileTypesWithoutBlocking) {
  const TempFolder folder;
  EXPECT_EQ(ReadSmallFile(folder / "none", 10).status(),
            absl::NotFoundError((folder / "none") + ": No such file or directory"));
  EXPECT_EQ(ReadSmallFile(folder / "", 10).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ReadSmallFile(folder / "", 10).status().message()),
              EndsWith(": is a directory"));
  const std::string fifo = folder / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(ReadSmallFile(fifo, 10).status(),
            absl::InvalidArgumentError(fifo + ": is not a regular file"));
  std::filesystem::create_symlink("loop", folder / "loop");
  EXPECT_THAT(std::string(ReadSmallFile(folder / "loop", 10).status().message()),
              StartsWith(folder / "loop: "));
}

}  // namespace
}  // namespace npg::base::small_file_test
