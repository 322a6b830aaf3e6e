// SPDX-License-Identifier: Apache-2.0
#include "core/cgroup_glob.h"

#include <gtest/gtest.h>

#include "absl/status/status.h"

namespace npg::core::cgroup_glob_test {
namespace {

TEST(CgroupGlobTest, SelectsWhatItNamesAndWhatIsBelow) {
  EXPECT_TRUE(SelectsCgroup("/system.slice/agent.service", "/system.slice/agent.service"));
  EXPECT_TRUE(SelectsCgroup("/system.slice/agent.service", "/system.slice/agent.service/worker"));
  EXPECT_FALSE(SelectsCgroup("/system.slice/agent.service", "/system.slice"));
  EXPECT_FALSE(SelectsCgroup("/system.slice/agent.service", "/system.slice/agent.service2"));
  EXPECT_FALSE(SelectsCgroup("/system.slice/agent.service", "/user.slice/agent.service"));
  EXPECT_TRUE(SelectsCgroup("/", "/"));
  EXPECT_TRUE(SelectsCgroup("/", "/user.slice/user-1000.slice"));
}

TEST(CgroupGlobTest, TwoStarsStandForOneOrMoreCgroups) {
  EXPECT_FALSE(SelectsCgroup("/system.slice/**", "/system.slice"));
  EXPECT_TRUE(SelectsCgroup("/system.slice/**", "/system.slice/kubelet.service"));
  EXPECT_TRUE(SelectsCgroup("/system.slice/**", "/system.slice/a.slice/b.service/c"));
  EXPECT_FALSE(SelectsCgroup("/system.slice/**", "/system.slices/a"));
  EXPECT_TRUE(SelectsCgroup("/**", "/a"));
  EXPECT_FALSE(SelectsCgroup("/**", "/"));
}

TEST(CgroupGlobTest, AStarStaysWithinOneName) {
  EXPECT_TRUE(SelectsCgroup("/kubepods.slice/*/crio-*.scope", "/kubepods.slice/pod1/crio-a.scope"));
  EXPECT_FALSE(SelectsCgroup("/kubepods.slice/*.scope", "/kubepods.slice/pod1/crio-a.scope"));
  EXPECT_FALSE(SelectsCgroup("/*", "/"));
  EXPECT_TRUE(SelectsCgroup("/a?c", "/abc"));
  EXPECT_FALSE(SelectsCgroup("/a?c", "/ac"));
}

TEST(CgroupGlobTest, KnowsWhereToLook) {
  EXPECT_TRUE(MaySelectBelow("/system.slice/*/x", ""));
  EXPECT_TRUE(MaySelectBelow("/system.slice/*/x", "/system.slice"));
  EXPECT_TRUE(MaySelectBelow("/system.slice/*/x", "/system.slice/any"));
  EXPECT_FALSE(MaySelectBelow("/system.slice/*/x", "/user.slice"));
  EXPECT_TRUE(MaySelectBelow("/system.slice/**", "/system.slice"));
  EXPECT_FALSE(MaySelectBelow("/system.slice/**", "/user.slice"));
}

TEST(CgroupGlobTest, RefusesWhatIsNoPattern) {
  for (const char* good : {"/**", "/system.slice/**", "/a*/b?/[ab]c", "/a/"}) {
    EXPECT_TRUE(CheckCgroupGlob(good).ok()) << good;
  }
  for (const char* bad :
       {"", "/", "//", "system.slice", "**", "/a/../b", "/./a", "/**/a", "/a**", "/a/b**"}) {
    EXPECT_EQ(CheckCgroupGlob(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace npg::core::cgroup_glob_test
