// SPDX-License-Identifier: Apache-2.0
#include "node/cgroups.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/unique_fd.h"

namespace npg::node::cgroups_test {
namespace {

using ::testing::IsEmpty;

TEST(CgroupsTest, UnknownCgroupsHaveNoPath) {
  EXPECT_THAT(CgroupPath("/nowhere", 1), IsEmpty());
  EXPECT_THAT(CgroupPath(::testing::TempDir(), 0xffffffffffffffff), IsEmpty());
  EXPECT_THAT(CgroupBelowRoot("/nowhere", 1), IsEmpty());
}

TEST(CgroupsTest, AFolderOfAnotherFileSystemIsNoHierarchyRoot) {
  struct stat proc {};
  ASSERT_EQ(stat("/proc", &proc), 0);
  ASSERT_EQ(proc.st_ino, kRootCgroupId) << "which alone would look like the root";
  const base::UniqueFd fd(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(fd);
  EXPECT_FALSE(IsHierarchyRoot(fd.get()));
  EXPECT_FALSE(IsHierarchyRoot("/proc"));
}

TEST(CgroupsTest, WhatCannotBeOpenedHasNoIdAndIsNoRoot) {
  EXPECT_FALSE(CgroupId(-1).ok());
  EXPECT_FALSE(IsHierarchyRoot(-1));
  EXPECT_FALSE(IsHierarchyRoot("/nowhere"));
}

}  // namespace
}  // namespace npg::node::cgroups_test
