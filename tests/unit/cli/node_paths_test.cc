// SPDX-License-Identifier: Apache-2.0
#include "cli/node_paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "cli/args/options.h"
#include "cli/exit_code.h"
#include "testing/status_asserts.h"

namespace npg::cli::node_paths_test {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

// What ElementsAre() is to find.
auto Mount(const std::string& path, const std::string& root = "/") {
  return ::testing::AllOf(Field(&Cgroup2Mount::path, path), Field(&Cgroup2Mount::root, root));
}

class NodePathsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "npg-paths-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string File(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name) << content;
    return folder_ / name;
  }

  std::filesystem::path folder_;
};

TEST(Cgroup2MountsTest, OfAUnifiedHost) {
  EXPECT_THAT(ParseCgroup2Mounts(
                  "24 30 0:22 / /proc rw,nosuid - proc proc rw\n"
                  "35 25 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
                  "36 25 0:31 / /sys/fs/bpf rw shared:10 - bpf bpf rw,mode=700\n"),
              ElementsAre(Mount("/sys/fs/cgroup")));
}

TEST(Cgroup2MountsTest, OfAHybridHost) {
  EXPECT_THAT(ParseCgroup2Mounts("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
                                 "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
                                 "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:1 "
                                 "master:2 - cgroup2 cgroup2 rw\n"),
              ElementsAre(Mount("/sys/fs/cgroup/unified")));
}

TEST(Cgroup2MountsTest, IncludesPartsButNoOtherFileSystems) {
  EXPECT_THAT(ParseCgroup2Mounts("1 0 0:5 /kubepods/pod1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
                                 "1 0 0:5 /../.. /host rw - cgroup2 cgroup2 rw\n"
                                 "2 0 0:6 / /tmp/cgroup2 rw - tmpfs cgroup2 rw\n"
                                 "3 0 0:7 / /odd - cgroup2\n"
                                 "not a line\n"
                                 "4 0 0:8 / /mnt/with\\040blank rw - cgroup2 none rw\n"),
              ElementsAre(Mount("/sys/fs/cgroup", "/kubepods/pod1"), Mount("/host", "/../.."),
                          Mount("/mnt/with blank")));
}

TEST(IsBelowCgroupTest, ComparesPathsInTheReadersNamespace) {
  // The mount of the node in a pod, and the node's init, a service, the pod, another pod.
  EXPECT_TRUE(IsBelowCgroup("/../../../init.scope", "/../../.."));
  EXPECT_TRUE(IsBelowCgroup("/../../../system.slice/x.service", "/../../.."));
  EXPECT_TRUE(IsBelowCgroup("/", "/../../.."));
  EXPECT_TRUE(IsBelowCgroup("/../pod2", "/../../.."));
  // On the node itself.
  EXPECT_TRUE(IsBelowCgroup("/init.scope", "/"));
  EXPECT_TRUE(IsBelowCgroup("/", "/"));
  EXPECT_TRUE(IsBelowCgroup("/a/b", "/a"));
  // The cgroup of a container, and a part of the node.
  EXPECT_FALSE(IsBelowCgroup("/../../../init.scope", "/"));
  EXPECT_FALSE(IsBelowCgroup("/../../../init.scope", "/../.."));
  EXPECT_FALSE(IsBelowCgroup("/../../../init.scope", "/../../../system.slice"));
  EXPECT_FALSE(IsBelowCgroup("/", "/../../../system.slice"));
  EXPECT_FALSE(IsBelowCgroup("/ab", "/a"));
  EXPECT_FALSE(IsBelowCgroup("", "/")) << "an unknown cgroup";
}

TEST_F(NodePathsTest, WithoutCgroup2TheNodeIsNotCapable) {
  std::filesystem::create_directory(folder_ / "self");
  File("self/mountinfo", "24 30 0:22 / /proc rw - proc proc rw\n");
  for (const std::string& proc : {folder_.string(), std::string("/nowhere")}) {
    const auto root = FindCgroup2Root(proc);
    EXPECT_EQ(ExitCode(root.status()), kExitNotCapable);
    EXPECT_THAT(std::string(root.status().message()), HasSubstr("mount -t cgroup2"));
  }
}

TEST_F(NodePathsTest, AnInvalidCgroupIsAUsageError) {
  const std::string file = File("file", "");
  EXPECT_EQ(CheckCgroup(file), UsageError("--cgroup " + file + ": is not a folder"));
  EXPECT_EQ(CheckCgroup(folder_),
            UsageError("--cgroup " + folder_.string() + ": is not on a cgroup2 file system"));
  EXPECT_EQ(CheckCgroup("/nowhere"), UsageError("--cgroup /nowhere: No such file or directory"));
  EXPECT_EQ(ExitCode(CheckCgroup(file)), kExitUsage);
}

TEST_F(NodePathsTest, ResolveCgroupPrefersTheFlag) {
  NodeOptions options;
  options.cgroup = folder_;
  EXPECT_EQ(ExitCode(ResolveCgroup(options, "/nowhere").status()), kExitUsage);
  options.cgroup = "";
  EXPECT_EQ(ExitCode(ResolveCgroup(options, "/nowhere").status()), kExitNotCapable);
}

TEST_F(NodePathsTest, AnInvalidBpffsErrorNamesTheMountCommand) {
  const absl::Status other = CheckBpffs(folder_);
  EXPECT_EQ(ExitCode(other), kExitNotCapable);
  EXPECT_THAT(std::string(other.message()),
              HasSubstr("mount one: mount -t bpf bpf " + folder_.string()));
  const absl::Status missing = CheckBpffs("/nowhere");
  EXPECT_EQ(ExitCode(missing), kExitNotCapable);
  EXPECT_THAT(std::string(missing.message()),
              HasSubstr("mkdir -p /nowhere && mount -t bpf bpf /nowhere"));
  EXPECT_EQ(ExitCode(CheckBpffs(File("file", ""))), kExitNotCapable);
}

}  // namespace
}  // namespace npg::cli::node_paths_test
