// SPDX-License-Identifier: Apache-2.0
#include "node/cgroup_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace npg::node::cgroup_path_test {
namespace {

using ::testing::IsEmpty;

TEST(CgroupPathTest, UnknownCgroupsHaveNoPath) {
  EXPECT_THAT(CgroupPath("/nowhere", 1), IsEmpty());
  EXPECT_THAT(CgroupPath(::testing::TempDir(), 0xffffffffffffffff), IsEmpty());
  EXPECT_THAT(CgroupBelowRoot("/nowhere", 1), IsEmpty());
}

}  // namespace
}  // namespace npg::node::cgroup_path_test
