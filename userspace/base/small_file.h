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

// Calls `take` with the rest of the file, piece by piece, until it returns false. The
// message starts with `name`. RESOURCE_EXHAUSTED beyond `max_bytes`, otherwise the code of
// the errno.
absl::Status ReadPieces(int fd, absl::string_view name, size_t max_bytes,
                        absl::FunctionRef<bool(absl::string_view piece)> take);

// The same as one text.
absl::StatusOr<std::string> ReadRest(int fd, absl::string_view name, size_t max_bytes);

// The content of a regular file, or of one that a symbolic link leads to. The message
// starts with the path. INVALID_ARGUMENT for other kinds of files (does not wait for a
// named pipe), RESOURCE_EXHAUSTED beyond `max_bytes`, otherwise the code of the errno.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes,
                                          int folder = AT_FDCWD);

// The target of a symbolic link; for those of /proc, the kernel's text. The message starts
// with the path.
absl::StatusOr<std::string> ReadLink(const std::string& path, int folder = AT_FDCWD);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_SMALL_FILE_H_
