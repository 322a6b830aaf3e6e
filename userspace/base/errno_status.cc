// SPDX-License-Identifier: Apache-2.0
#include "base/errno_status.h"

#include <cerrno>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace npg::base {
namespace {

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return absl::StatusCode::kPermissionDenied;
    case ENOENT:
    case ENOTDIR:  // of the path
      return absl::StatusCode::kNotFound;
    case EEXIST:
      return absl::StatusCode::kAlreadyExists;
    case EBUSY:
    case EAGAIN:
      return absl::StatusCode::kUnavailable;
    case E2BIG:  // of a full BPF map
      return absl::StatusCode::kResourceExhausted;
    case EINVAL:
      return absl::StatusCode::kInvalidArgument;
    case EOPNOTSUPP:
    case ENOSYS:
    case ENOPROTOOPT:
    case EAFNOSUPPORT:
      return absl::StatusCode::kUnimplemented;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::Status ErrnoStatus(int error, absl::string_view what) {
  return {CodeOf(error), absl::StrCat(what, ": ", std::generic_category().message(error))};
}

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat(context, ": ", status.message())};
}

absl::Status NameCapability(const absl::Status& status) {
  if (!absl::IsPermissionDenied(status)) return status;
  return absl::PermissionDeniedError(
      absl::StrCat(status.message(), "; run as root or with the capability CAP_NET_ADMIN"));
}

}  // namespace npg::base
