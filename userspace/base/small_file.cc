// SPDX-License-Identifier: Apache-2.0
#include "base/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::base {

absl::StatusOr<UniqueFd> OpenToRead(const std::string& path, int folder) {
  UniqueFd fd(openat(folder, path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return ErrnoStatus(errno, path);
  return fd;
}

absl::Status ReadPieces(int fd, absl::string_view name, size_t max_bytes,
                        absl::FunctionRef<bool(absl::string_view piece)> take) {
  std::array<char, 16384> chunk;
  size_t total = 0;
  while (true) {
    const ssize_t got = read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, name);
    if (got == 0) return absl::OkStatus();
    // Measured while reading: the file may grow after fstat().
    total += static_cast<size_t>(got);
    if (total > max_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(name, ": is larger than ", max_bytes >> 10, " KiB"));
    }
    if (!take({chunk.data(), static_cast<size_t>(got)})) return absl::OkStatus();
  }
}

absl::StatusOr<std::string> ReadRest(int fd, absl::string_view name, size_t max_bytes) {
  std::string text;
  NPG_RETURN_IF_ERROR(ReadPieces(fd, name, max_bytes, [&text](absl::string_view piece) {
    text.append(piece.data(), piece.size());
    return true;
  }));
  return text;
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes, int folder) {
  const absl::StatusOr<UniqueFd> fd = OpenToRead(path, folder);
  if (!fd.ok()) return fd.status();
  struct stat file {};
  if (fstat(fd->get(), &file) != 0) return ErrnoStatus(errno, path);
  if (!S_ISREG(file.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, S_ISDIR(file.st_mode) ? ": is a directory" : ": is not a regular file"));
  }
  return ReadRest(fd->get(), path, max_bytes);
}

absl::StatusOr<std::string> ReadLink(const std::string& path, int folder) {
  std::array<char, PATH_MAX> target;
  const ssize_t length = readlinkat(folder, path.c_str(), target.data(), target.size());
  if (length < 0) return ErrnoStatus(errno, path);
  return std::string(target.data(), static_cast<size_t>(length));
}

}  // namespace npg::base
