// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.h"

#include <fcntl.h>

#include <cerrno>
#include <type_traits>
#include <utility>

#include "gtest/gtest.h"

namespace npg::base::unique_fd_test {
namespace {

static_assert(!std::is_copy_constructible_v<UniqueFd> && !std::is_copy_assignable_v<UniqueFd>);
static_assert(std::is_nothrow_move_constructible_v<UniqueFd> &&
              std::is_nothrow_move_assignable_v<UniqueFd>);
static_assert(!std::is_convertible_v<int, UniqueFd>);

int OpenNull() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }

TEST(UniqueFd, EmptyByDefault) {
  const UniqueFd fd;
  EXPECT_FALSE(fd);
  EXPECT_EQ(fd.get(), -1);
}

TEST(UniqueFd, TheResultOfAFailedCallIsEmpty) {
  const UniqueFd fd(open("/nonexistent/file", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(errno, ENOENT);
  EXPECT_FALSE(fd);
}

TEST(UniqueFd, DestructorCloses) {
  int number = -1;
  {
    const UniqueFd fd(OpenNull());
    ASSERT_TRUE(fd);
    number = fd.get();
    EXPECT_TRUE(IsOpen(number));
  }
  EXPECT_FALSE(IsOpen(number));
}

TEST(UniqueFd, MoveTransfersOwnership) {
  UniqueFd from(OpenNull());
  const int number = from.get();
  const UniqueFd into(std::move(from));
  EXPECT_FALSE(from);  // NOLINT(bugprone-use-after-move): empty is the contract
  EXPECT_EQ(into.get(), number);
  EXPECT_TRUE(IsOpen(number));
}

TEST(UniqueFd, AssignmentClosesTheOldDescriptor) {
  UniqueFd a(OpenNull());
  UniqueFd b(OpenNull());
  const int first = a.get();
  const int second = b.get();
  a = std::move(b);
  EXPECT_FALSE(IsOpen(first));
  EXPECT_EQ(a.get(), second);
  EXPECT_TRUE(IsOpen(second));
}

TEST(UniqueFd, SelfAssignmentKeepsTheDescriptor) {
  UniqueFd fd(OpenNull());
  const int number = fd.get();
  UniqueFd& same = fd;
  fd = std::move(same);
  EXPECT_EQ(fd.get(), number);
  EXPECT_TRUE(IsOpen(number));
}

TEST(UniqueFd, ReleaseDoesNotClose) {
  UniqueFd fd(OpenNull());
  const UniqueFd other(fd.Release());
  EXPECT_FALSE(fd);
  EXPECT_TRUE(IsOpen(other.get()));
}

TEST(UniqueFd, ResetCloses) {
  UniqueFd fd(OpenNull());
  const int number = fd.get();
  fd.Reset();
  EXPECT_FALSE(fd);
  EXPECT_FALSE(IsOpen(number));
  fd.Reset();  // once more is harmless
}

TEST(UniqueFd, ZeroIsADescriptor) {
  UniqueFd fd(0);
  EXPECT_TRUE(fd);
  EXPECT_EQ(fd.Release(), 0);  // the test must not close it
}

}  // namespace
}  // namespace npg::base::unique_fd_test
