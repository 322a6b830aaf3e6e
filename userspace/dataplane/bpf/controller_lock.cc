// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/controller_lock.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/pin_paths.h"

namespace npg::dataplane {
namespace {

// A line of /proc/locks: "1: FLOCK  ADVISORY  WRITE 812 00:1f:4242 0 EOF". A
// holder in a pid namespace out of sight has no line.
pid_t HolderOf(const struct stat& file) {
  constexpr size_t kMaxLocks = size_t{16} << 20;
  const std::string locks = base::ReadSmallFile("/proc/locks", kMaxLocks).value_or("");
  const std::string id =
      absl::StrFormat("%02x:%02x:%d", major(file.st_dev), minor(file.st_dev), file.st_ino);
  for (const absl::string_view line : absl::StrSplit(locks, '\n')) {
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar(" "), absl::SkipEmpty());
    if (fields.size() < 6 || fields[1] != "FLOCK") continue;
    if (fields[5] != id) continue;
    pid_t pid = 0;
    if (absl::SimpleAtoi(fields[4], &pid) && pid > 0) return pid;
  }
  return -1;
}

absl::StatusOr<base::UniqueFd> OpenRoot(const PinPaths& pins) {
  base::UniqueFd fd(open(pins.Root().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return base::ErrnoStatus(errno, absl::StrCat("open ", pins.Root()));
  return fd;
}

// True when `fd` is the folder that has the name now.
bool IsNamed(int fd, const PinPaths& pins) {
  struct stat held {};
  struct stat named {};
  return fstat(fd, &held) == 0 && stat(pins.Root().c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

// By default every user can write to a bpf file system, so another user may have created
// the folder first. That user could then replace the pins.
absl::Status CheckOwner(const PinPaths& pins, int fd) {
  struct stat folder {};
  if (fstat(fd, &folder) != 0) return base::ErrnoStatus(errno, absl::StrCat("stat ", pins.Root()));
  if (folder.st_uid == geteuid() && (folder.st_mode & (S_IWGRP | S_IWOTH)) == 0) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(pins.Root(), " belongs to uid ", folder.st_uid, " and has mode ",
                   absl::StrFormat("%04o", folder.st_mode & 07777U),
                   ", so that others can change what is pinned there; remove it, and mount the "
                   "bpf file system with -o mode=700"));
}

}  // namespace

ControllerLock::ControllerLock(PinPaths pins, base::UniqueFd fd)
    : pins_(std::move(pins)), fd_(std::move(fd)) {}

ControllerLock::~ControllerLock() {
  // Not a folder that another process made after this one was removed. rmdir() fails, as it
  // should, while anything is pinned.
  if (fd_ && IsNamed(fd_.get(), pins_)) rmdir(pins_.Root().c_str());
}

absl::StatusOr<ControllerLock> ControllerLock::Acquire(const PinPaths& pins) {
  struct statfs fs {};
  if (statfs(pins.bpffs().c_str(), &fs) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("stat ", pins.bpffs(), ": ", std::generic_category().message(errno),
                     "; mount a bpf file system with 'mount -t bpf bpf ", pins.bpffs(), "'"));
  }
  if (static_cast<uint64_t>(fs.f_type) != BPF_FS_MAGIC) {
    return absl::FailedPreconditionError(absl::StrCat(
        pins.bpffs(), " is not on a bpf file system; mount one with 'mount -t bpf bpf ",
        pins.bpffs(), "' or name one with --bpffs"));
  }
  // An unload that ends between our open() and flock() removes the folder.
  constexpr int kAttempts = 5;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (mkdir(pins.Root().c_str(), 0700) != 0 && errno != EEXIST) {
      return base::ErrnoStatus(errno, absl::StrCat("create ", pins.Root()));
    }
    absl::StatusOr<base::UniqueFd> fd = OpenRoot(pins);
    if (absl::IsNotFound(fd.status())) continue;
    if (!fd.ok()) return fd.status();
    if (flock(fd->get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return base::ErrnoStatus(errno, absl::StrCat("lock ", pins.Root()));
      absl::StatusOr<pid_t> pid = ControllerPid(pins);
      // Not visible, or released again: `status` holds the lock briefly to test it.
      if ((!pid.ok() || *pid <= 0) && attempt + 1 < kAttempts) continue;
      return absl::UnavailableError(absl::StrCat(
          "another nodeport-guard (",
          pid.ok() && *pid > 0 ? absl::StrCat("pid ", *pid) : "in another pid namespace",
          ") controls ", pins.Root(), "; stop it first"));
    }
    if (IsNamed(fd->get(), pins)) {
      NPG_RETURN_IF_ERROR(CheckOwner(pins, fd->get()));
      return ControllerLock(pins, *std::move(fd));
    }
  }
  return absl::UnavailableError(
      absl::StrCat("lock ", pins.Root(), ": another process keeps removing it"));
}

absl::StatusOr<bool> ControllerLock::Renew() {
  if (IsNamed(fd_.get(), pins_)) return false;
  absl::StatusOr<ControllerLock> fresh = Acquire(pins_);
  if (!fresh.ok()) return fresh.status();
  fd_ = std::move(fresh->fd_);
  return true;
}

absl::StatusOr<pid_t> ControllerPid(const PinPaths& pins) {
  absl::StatusOr<base::UniqueFd> fd = OpenRoot(pins);
  if (absl::IsNotFound(fd.status())) return 0;
  if (!fd.ok()) return fd.status();
  struct stat root {};
  if (fstat(fd->get(), &root) != 0) {
    return base::ErrnoStatus(errno, absl::StrCat("stat ", pins.Root()));
  }
  const pid_t pid = HolderOf(root);
  if (pid > 0) return pid;
  if (flock(fd->get(), LOCK_SH | LOCK_NB) == 0) return 0;
  if (errno != EWOULDBLOCK)
    return base::ErrnoStatus(errno, absl::StrCat("test lock of ", pins.Root()));
  return -1;
}

}  // namespace npg::dataplane
