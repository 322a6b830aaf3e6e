// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_ERRNO_STATUS_H_
#define NODEPORT_GUARD_BASE_ERRNO_STATUS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace npg::base {

// Converts an errno to a status. `error` is a positive errno, `what` the operation and its
// object; the message ends in the errno's text:
// ErrnoStatus(ENOENT, "open /etc/x") is NOT_FOUND "open /etc/x: No such file or
// directory". EPERM and EACCES give PERMISSION_DENIED, ENOENT NOT_FOUND, EEXIST
// ALREADY_EXISTS, EBUSY and EAGAIN UNAVAILABLE, E2BIG RESOURCE_EXHAUSTED, EINVAL
// INVALID_ARGUMENT, EOPNOTSUPP, ENOSYS, ENOPROTOOPT and EAFNOSUPPORT UNIMPLEMENTED,
// the rest INTERNAL.
absl::Status ErrnoStatus(int error, absl::string_view what);

// The same status with `context` and ": " before the message.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

// Adds the capability that nfnetlink requires to a PERMISSION_DENIED; other statuses stay as they
// are.
absl::Status NameCapability(const absl::Status& status);

}  // namespace npg::base

// Returns from the calling function when `expression` is not OK.
#define NPG_RETURN_IF_ERROR(expression)                                                 \
  do {                                                                                  \
    if (absl::Status npg_status_ = (expression); !npg_status_.ok()) return npg_status_; \
  } while (false)

#endif  // NODEPORT_GUARD_BASE_ERRNO_STATUS_H_
