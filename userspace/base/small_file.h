// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_SMALL_FILE_H_
#define NODEPORT_GUARD_BASE_SMALL_FILE_H_

#include <fcntl.h>

#include <cstddef>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace npg::base {

// Opens a file to read it; does not wait for the writer of a named pipe. `path` is
// below the open `folder` unless it is absolute. The message starts with the path.
absl::StatusOr<UniqueFd> OpenToRead(const std::string& path, int folder = AT_FDCWD);

// Calls `take` with what is left of the file, piece by piece, until it returns false.
// The message starts with `name`. RESOURCE_EXHAUSTED once there are more than
// `max_bytes`, otherwise as the errno says.
absl::Status ReadPieces(int fd, absl::string_view name, size_t max_bytes,
                        absl::FunctionRef<bool(absl::string_view piece)> take);

// The same as one text.
absl::StatusOr<std::string> ReadRest(int fd, absl::string_view name, size_t max_bytes);

// The whole of a regular file, or of one that a symbolic link leads to. The
// message starts with the path. INVALID_ARGUMENT when it is something else (a
// named pipe is not waited for), RESOURCE_EXHAUSTED when it holds more than
// `max_bytes`, otherwise as the errno says.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes,
                                          int folder = AT_FDCWD);

// Where a symbolic link leads; for those of /proc, as the kernel has it. The message
// starts with the path.
absl::StatusOr<std::string> ReadLink(const std::string& path, int folder = AT_FDCWD);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_SMALL_FILE_H_
