// SPDX-License-Identifier: Apache-2.0
#include "base/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::base {

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return ErrnoStatus(errno, path);
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return ErrnoStatus(errno, path);
  if (!S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, S_ISDIR(file.st_mode) ? ": is a directory" : ": is not a regular file"));
  }
  std::string content;
  std::array<char, 4096> chunk{};
  while (true) {
    const ssize_t got = read(fd.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, path);
    if (got == 0) return content;
    content.append(chunk.data(), static_cast<size_t>(got));
    // Measured while reading: the size that fstat() tells may grow meanwhile.
    if (content.size() > max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(path, ": is larger than ", max_bytes >> 10, " KiB"));
    }
  }
}

}  // namespace npg::base
