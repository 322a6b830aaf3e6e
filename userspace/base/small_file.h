// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_BASE_SMALL_FILE_H_
#define NODEPORT_GUARD_BASE_SMALL_FILE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"

namespace npg::base {

// The whole of a regular file, or of one that a symbolic link leads to. The
// message starts with the path. INVALID_ARGUMENT when it is something else (a
// named pipe is not waited for), RESOURCE_EXHAUSTED when it holds more than
// `max_bytes`, otherwise as the errno says.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes);

}  // namespace npg::base

#endif  // NODEPORT_GUARD_BASE_SMALL_FILE_H_
