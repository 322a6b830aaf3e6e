// SPDX-License-Identifier: Apache-2.0
#include "sources/file_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "sources/file_watch.h"
#include "sources/ports_text.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

// What to do about a file that could not be opened or read.
absl::string_view Remedy(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return "; create it (\"[]\" stands for no ports) or name another file";
    case EACCES:
    case EPERM:
      return "; let the user that nodeport-guard runs as read it";
    default:
      return "";
  }
}

absl::Status Failed(int error, absl::string_view file) {
  const absl::Status status = base::ErrnoStatus(error, file);
  return {status.code(), absl::StrCat(status.message(), Remedy(error))};
}

absl::Status FileTooLarge(absl::string_view file, size_t bytes) {
  return absl::ResourceExhaustedError(
      absl::StrFormat("%s: is %d MiB, more than the %d MiB that are read; list the ports alone",
                      file, bytes >> 20, FileSource::kMaxBytes >> 20));
}

// Appends the rest of the file to `text`, up to one byte more than is allowed.
absl::Status Append(int fd, absl::string_view file, std::string& text) {
  constexpr size_t kChunk = size_t{64} << 10;
  while (text.size() <= FileSource::kMaxBytes) {
    const size_t old_size = text.size();
    text.resize(old_size + kChunk);
    const ssize_t got = read(fd, text.data() + old_size, kChunk);
    const int error = errno;
    text.resize(old_size + (got > 0 ? static_cast<size_t>(got) : 0));
    if (got == 0) return absl::OkStatus();
    if (got < 0 && error != EINTR) return Failed(error, file);
  }
  return FileTooLarge(file, text.size());
}

absl::StatusOr<std::string> ReadFileText(const std::string& path) {
  const std::string file = absl::StrCat("ports file ", path);
  // Not to wait for the writer of a named pipe.
  const base::UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return Failed(errno, file);
  struct stat before {};
  if (fstat(fd.get(), &before) != 0) return Failed(errno, file);
  if (!S_ISREG(before.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": is ", S_ISDIR(before.st_mode) ? "a directory" : "not a regular file",
                     "; name a file with a list of ports"));
  }
  const auto size = static_cast<size_t>(before.st_size);
  if (size > FileSource::kMaxBytes) return FileTooLarge(file, size);
  std::string text;
  text.reserve(size + 1);  // one more, to see the end
  NPG_RETURN_IF_ERROR(Append(fd.get(), file, text));
  struct stat after {};
  if (fstat(fd.get(), &after) != 0) return Failed(errno, file);
  if (after.st_size != before.st_size || after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
      after.st_mtim.tv_nsec != before.st_mtim.tv_nsec) {
    return absl::UnavailableError(
        absl::StrCat(file, ": was written while it was read; replace it by rename instead"));
  }
  if (text.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": is empty; write \"[]\" if no port is meant"));
  }
  return text;
}

}  // namespace

FileSource::FileSource(std::string path, const FileWatch::Options& options)
    : path_(std::move(path)), options_(options), reporter_(path_) {}

absl::StatusOr<Reading> FileSource::ReadNow() const {
  const absl::StatusOr<std::string> text = ReadFileText(path_);
  if (!text.ok()) return text.status();
  absl::StatusOr<Reading> reading = DecodePortsText(*text);
  if (reading.ok()) return reading;
  return base::Annotate(reading.status(), absl::StrCat("ports file ", path_));
}

absl::StatusOr<Reading> FileSource::Read() {
  absl::StatusOr<Reading> reading = ReadNow();
  reporter_.Remember(reading);
  return reading;
}

absl::Status FileSource::Follow(base::EventLoop& loop, Callback callback) {
  callback_ = std::move(callback);
  watch_ = std::make_unique<FileWatch>(loop, path_, options_, [this] {
    absl::StatusOr<Reading> reading = ReadNow();
    if (!watch_->BeingWritten()) reporter_.Report(std::move(reading), callback_);
  });
  return absl::OkStatus();
}

}  // namespace npg::sources
