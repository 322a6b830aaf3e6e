// SPDX-License-Identifier: Apache-2.0
#include "sources/file_source.h"

#include <sys/stat.h>

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
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "core/bind_facts.h"
#include "sources/file_watch.h"
#include "sources/ports_text.h"
#include "sources/source.h"

namespace npg::sources {
namespace {

// `status` with a remedy for a file that could not be opened or read.
absl::Status WithRemedy(const absl::Status& status) {
  absl::string_view remedy;
  if (absl::IsNotFound(status)) {
    remedy = "; create it (\"[]\" stands for no ports) or name another file";
  } else if (absl::IsPermissionDenied(status)) {
    remedy = "; let the user that nodeport-guard runs as read it";
  }
  return {status.code(), absl::StrCat("ports file ", status.message(), remedy)};
}

absl::Status FileTooLarge(absl::string_view file, size_t bytes) {
  return absl::ResourceExhaustedError(
      absl::StrFormat("%s: is %d MiB, more than the %d MiB that are read; list the ports alone",
                      file, bytes >> 20, FileSource::kMaxBytes >> 20));
}

absl::StatusOr<std::string> ReadFileText(const std::string& path) {
  const std::string file = absl::StrCat("ports file ", path);
  const absl::StatusOr<base::UniqueFd> fd = base::OpenToRead(path);
  if (!fd.ok()) return WithRemedy(fd.status());
  struct stat before {};
  if (fstat(fd->get(), &before) != 0) return base::ErrnoStatus(errno, file);
  if (!S_ISREG(before.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": is ", S_ISDIR(before.st_mode) ? "a directory" : "not a regular file",
                     "; name a file with a list of ports"));
  }
  const auto size = static_cast<size_t>(before.st_size);
  if (size > FileSource::kMaxBytes) return FileTooLarge(file, size);
  std::string text;
  text.reserve(size);
  const absl::Status read =
      base::ReadPieces(fd->get(), path, FileSource::kMaxBytes, [&text](absl::string_view piece) {
        text.append(piece.data(), piece.size());
        return true;
      });
  // It grew beyond the limit while it was read.
  if (absl::IsResourceExhausted(read)) return FileTooLarge(file, FileSource::kMaxBytes + 1);
  if (!read.ok()) return WithRemedy(read);
  struct stat after {};
  if (fstat(fd->get(), &after) != 0) return base::ErrnoStatus(errno, file);
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

// True for an error of ReadFileText() that may end without a change of the file: of a file system,
// for want of descriptors.
bool MayWorkLater(const absl::Status& status) {
  return !status.ok() && !absl::IsNotFound(status) && !absl::IsInvalidArgument(status);
}

}  // namespace

FileSource::FileSource(std::string path, const FileWatch::Options& options)
    : path_(std::move(path)), options_(options), reporter_(path_) {}

FileSource::Attempt FileSource::ReadNow() const {
  const absl::StatusOr<std::string> text = ReadFileText(path_);
  if (!text.ok()) return {text.status(), MayWorkLater(text.status())};
  core::BindFacts facts;
  absl::StatusOr<Reading> reading = DecodePortsText(*text, &facts);
  if (reading.ok()) return {std::move(reading), false, std::move(facts)};
  return {base::Annotate(reading.status(), absl::StrCat("ports file ", path_)), false};
}

bool FileSource::TakeFacts(Attempt& attempt) {
  if (!attempt.reading.ok() || facts_ == attempt.facts) return false;
  facts_ = std::move(attempt.facts);
  return true;
}

absl::StatusOr<Reading> FileSource::Read() {
  Attempt attempt = ReadNow();
  TakeFacts(attempt);
  reporter_.Remember(attempt.reading);
  return std::move(attempt.reading);
}

absl::Status FileSource::Follow(base::EventLoop& loop, Callback callback) {
  callback_ = std::move(callback);
  watch_ = std::make_unique<FileWatch>(loop, path_, options_, [this] {
    Attempt attempt = ReadNow();
    if (watch_->BeingWritten()) return;
    if (attempt.may_work_later) watch_->Again();
    const bool other_facts = TakeFacts(attempt);
    reporter_.Report(std::move(attempt.reading), callback_, other_facts);
  });
  return absl::OkStatus();
}

}  // namespace npg::sources
