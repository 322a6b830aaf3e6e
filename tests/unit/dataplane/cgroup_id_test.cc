// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/cgroup_id.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/unique_fd.h"

namespace npg::dataplane::cgroup_id_test {
namespace {

TEST(CgroupIdTest, AnotherFileSystemIsNoHierarchy) {
  struct stat proc {};
  ASSERT_EQ(stat("/proc", &proc), 0);
  ASSERT_EQ(proc.st_ino, 1) << "the inode number alone looks like that of the root";
  const base::UniqueFd fd(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(fd);
  EXPECT_FALSE(IsHierarchyRoot(fd.get()));
}

TEST(CgroupIdTest, NoDescriptor) {
  EXPECT_FALSE(CgroupId(-1).ok());
  EXPECT_FALSE(IsHierarchyRoot(-1));
}

}  // namespace
}  // namespace npg::dataplane::cgroup_id_test
