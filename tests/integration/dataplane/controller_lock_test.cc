// SPDX-License-Identifier: Apache-2.0
// The lock of the process that controls the pins.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "dataplane/bpf/controller_lock.h"
#include "dataplane/bpf/pin_paths.h"
#include "integration/dataplane/dataplane_fixture.h"
#include "testing/command.h"
#include "testing/status_asserts.h"

namespace npg::dataplane::controller_lock_test {
namespace {

using ::testing::HasSubstr;

// The owner of the folder could replace the maps of the guard.
TEST_F(DataplaneTest, RefusesAFolderThatAnotherUserCanWriteTo) {
  ASSERT_EQ(mkdir(pins_.Root().c_str(), 0700), 0);
  ASSERT_EQ(chown(pins_.Root().c_str(), 65534, 65534), 0);
  absl::Status refused = ControllerLock::Acquire(pins_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("belongs to uid 65534"));
  ASSERT_EQ(chown(pins_.Root().c_str(), 0, 0), 0);
  ASSERT_EQ(chmod(pins_.Root().c_str(), 0770), 0);
  refused = ControllerLock::Acquire(pins_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("mode 0770"));
  ASSERT_EQ(chmod(pins_.Root().c_str(), 0700), 0);
  NPG_EXPECT_OK(ControllerLock::Acquire(pins_));
}

TEST_F(DataplaneTest, TheLockNamesItsHolderAndEndsWithIt) {
  NPG_ASSERT_OK_AND_ASSIGN(pid_t pid, ControllerPid(pins_));
  EXPECT_EQ(pid, 0);
  {
    NPG_ASSERT_OK_AND_ASSIGN(const auto lock, ControllerLock::Acquire(pins_));
    NPG_ASSERT_OK_AND_ASSIGN(pid, ControllerPid(pins_));
    EXPECT_EQ(pid, getpid());
    NPG_ASSERT_OK_AND_ASSIGN(
        const std::string refused, testing::RunInFork([this] {
          return std::string(ControllerLock::Acquire(pins_).status().message());
        }));
    EXPECT_THAT(refused, HasSubstr(absl::StrCat("(pid ", getpid(), ") controls ")));
  }
  NPG_ASSERT_OK_AND_ASSIGN(pid, ControllerPid(pins_));
  EXPECT_EQ(pid, 0);
  NPG_EXPECT_OK(ControllerLock::Acquire(pins_));
}

TEST_F(DataplaneTest, TheLockFollowsTheNameOfTheFolder) {
  NPG_ASSERT_OK_AND_ASSIGN(ControllerLock lock, ControllerLock::Acquire(pins_));
  NPG_ASSERT_OK_AND_ASSIGN(bool renewed, lock.Renew());
  EXPECT_FALSE(renewed);
  for (const bool recreated : {false, true}) {
    SCOPED_TRACE(recreated ? "removed and created again" : "removed");
    ASSERT_EQ(rmdir(pins_.Root().c_str()), 0);
    if (recreated) {
      ASSERT_EQ(mkdir(pins_.Root().c_str(), 0700), 0);
    }
    NPG_ASSERT_OK_AND_ASSIGN(pid_t pid, ControllerPid(pins_));
    EXPECT_EQ(pid, 0) << "nothing that has the name is locked";
    NPG_ASSERT_OK_AND_ASSIGN(renewed, lock.Renew());
    EXPECT_TRUE(renewed);
    NPG_ASSERT_OK_AND_ASSIGN(pid, ControllerPid(pins_));
    EXPECT_EQ(pid, getpid());
  }

  ASSERT_EQ(rmdir(pins_.Root().c_str()), 0);
  {
    // Locks of two descriptions of a file exclude each other within a process, too.
    NPG_ASSERT_OK_AND_ASSIGN(const ControllerLock other, ControllerLock::Acquire(pins_));
    const absl::Status refused = lock.Renew().status();
    EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(" controls "));
    { const ControllerLock ends = std::move(lock); }
    EXPECT_TRUE(std::filesystem::exists(pins_.Root())) << "it is that of the other";
  }
  EXPECT_FALSE(std::filesystem::exists(pins_.Root()));
}

TEST_F(DataplaneTest, RefusesAFolderThatIsNoBpffs) {
  const absl::Status status = ControllerLock::Acquire(PinPaths("/tmp")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("mount -t bpf"));
}

}  // namespace
}  // namespace npg::dataplane::controller_lock_test
