// SPDX-License-Identifier: Apache-2.0
#include "base/errno_status.h"

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace npg::base::errno_status_test {
namespace {

TEST(ErrnoStatus, NamesTheOperationAndTheReason) {
  const absl::Status status = ErrnoStatus(ENOENT, "open /etc/x");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "open /etc/x: No such file or directory");
}

TEST(ErrnoStatus, CodesAreAsDocumented) {
  const std::vector<std::pair<int, absl::StatusCode>> cases = {
      {EPERM, absl::StatusCode::kPermissionDenied},
      {EACCES, absl::StatusCode::kPermissionDenied},
      {ENOENT, absl::StatusCode::kNotFound},
      {EEXIST, absl::StatusCode::kAlreadyExists},
      {EBUSY, absl::StatusCode::kUnavailable},
      {EAGAIN, absl::StatusCode::kUnavailable},
      {E2BIG, absl::StatusCode::kResourceExhausted},
      {EINVAL, absl::StatusCode::kInvalidArgument},
      {EOPNOTSUPP, absl::StatusCode::kUnimplemented},
      {ENOSYS, absl::StatusCode::kUnimplemented},
      {ENOPROTOOPT, absl::StatusCode::kUnimplemented},
      {EAFNOSUPPORT, absl::StatusCode::kUnimplemented},
      {EIO, absl::StatusCode::kInternal},
      {ENOMEM, absl::StatusCode::kInternal},
      {ENOSPC, absl::StatusCode::kInternal},
  };
  for (const auto& [error, code] : cases) EXPECT_EQ(ErrnoStatus(error, "x").code(), code) << error;
}

// No errno gives OK: an error path must not turn into success.
TEST(ErrnoStatus, IsNeverOk) {
  for (const int error : {0, -1, 4095, 1 << 30}) EXPECT_FALSE(ErrnoStatus(error, "x").ok());
}

TEST(Annotate, PutsContextBeforeTheMessageAndKeepsTheCode) {
  const absl::Status status = Annotate(absl::NotFoundError("no such map"), "open the pins");
  EXPECT_EQ(status, absl::NotFoundError("open the pins: no such map"));
}

TEST(Annotate, LeavesOkAlone) { EXPECT_TRUE(Annotate(absl::OkStatus(), "context").ok()); }

TEST(NameCapability, ConcernsOnlyMissingPermissions) {
  const absl::Status status = NameCapability(absl::PermissionDeniedError("list the rules"));
  EXPECT_EQ(status, absl::PermissionDeniedError(
                        "list the rules; run as root or with the capability CAP_NET_ADMIN"));
  EXPECT_EQ(NameCapability(absl::NotFoundError("x")), absl::NotFoundError("x"));
  EXPECT_TRUE(NameCapability(absl::OkStatus()).ok());
}

absl::Status Chain(const absl::Status& first, int& evaluated) {
  NPG_RETURN_IF_ERROR((++evaluated, first));
  ++evaluated;
  return absl::OkStatus();
}

TEST(ReturnIfError, ContinuesWhenOk) {
  int evaluated = 0;
  EXPECT_TRUE(Chain(absl::OkStatus(), evaluated).ok());
  EXPECT_EQ(evaluated, 2);
}

TEST(ReturnIfError, ReturnsTheErrorAndEvaluatesOnce) {
  int evaluated = 0;
  EXPECT_EQ(Chain(absl::InternalError("broken"), evaluated), absl::InternalError("broken"));
  EXPECT_EQ(evaluated, 1);
}

}  // namespace
}  // namespace npg::base::errno_status_test
