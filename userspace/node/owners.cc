// SPDX-License-Identifier: Apache-2.0
#include "node/owners.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "core/listener.h"
#include "core/workload.h"

namespace npg::node {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};
using DirPtr = std::unique_ptr<DIR, CloseDir>;

// Sets errno on failure.
base::UniqueFd OpenFolder(int at, const std::string& path) {
  return base::UniqueFd(openat(at, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

DirPtr OpenDir(const std::string& path) {
  base::UniqueFd fd = OpenFolder(AT_FDCWD, path);
  if (!fd) return nullptr;
  DirPtr dir(fdopendir(fd.get()));
  if (dir) fd.Release();
  return dir;
}

// The numbers among the folder's names, ascending.
std::vector<pid_t> ListPids(DIR* dir) {
  std::vector<pid_t> pids;
  while (const dirent* entry = readdir(dir)) {  // NOLINT(concurrency-mt-unsafe): our own stream
    pid_t pid = 0;
    if (absl::SimpleAtoi(static_cast<const char*>(entry->d_name), &pid) && pid > 0) {
      pids.push_back(pid);
    }
  }
  std::sort(pids.begin(), pids.end());
  return pids;
}

// "socket:[123]" is inode 123; anything else 0.
uint64_t SocketInode(absl::string_view target) {
  uint64_t inode = 0;
  if (!absl::ConsumePrefix(&target, "socket:[") || !absl::ConsumeSuffix(&target, "]") ||
      !absl::SimpleAtoi(target, &inode)) {
    return 0;
  }
  return inode;
}

// A file of /proc/PID; empty when it cannot be read.
std::string ReadOf(int process, const char* name) {
  constexpr size_t kMaxProcFile = size_t{64} << 10;
  return base::ReadSmallFile(name, kMaxProcFile, process).value_or("");
}

// nullopt when the process has ended meanwhile.
std::optional<core::Owner> ReadOwner(int process, pid_t pid) {
  core::Owner owner;
  owner.pid = pid;
  owner.comm = ReadOf(process, "comm");
  if (owner.comm.empty()) return std::nullopt;
  if (owner.comm.back() == '\n') owner.comm.pop_back();
  owner.executable = base::ReadLink("exe", process).value_or("");
  owner.cgroup = core::PickCgroupPath(ReadOf(process, "cgroup"));
  owner.workload = core::ParseCgroupPath(owner.cgroup);
  return owner;
}

bool Denied() { return errno == EACCES || errno == EPERM; }

// Reads the folders /proc/PID/fd of every process on the node. That is a system call for
// each descriptor, so each must cost little more.
class FdReader {
 public:
  enum class Result : uint8_t { kRead, kDenied };

  // The inodes that are open in the folder, of those in `wanted`, a set or a map.
  // A process that ends meanwhile has none.
  template <typename Inodes>
  Result Find(int folder, const Inodes& wanted, absl::flat_hash_set<uint64_t>& found) {
    for (;;) {
      const ssize_t size = getdents64(folder, buffer_.data(), buffer_.size());
      if (size <= 0) return size < 0 && Denied() ? Result::kDenied : Result::kRead;
      for (size_t at = 0; at < static_cast<size_t>(size);) {
        const char* const entry = buffer_.data() + at;
        uint16_t length = 0;
        std::memcpy(&length, entry + offsetof(dirent64, d_reclen), sizeof(length));
        const char* const name = entry + offsetof(dirent64, d_name);
        at += length;
        if (*name == '.') continue;
        // A longer target is truncated, and is not a socket.
        std::array<char, sizeof("socket:[18446744073709551615]")> target;
        const ssize_t read = readlinkat(folder, name, target.data(), target.size());
        if (read < 0) {
          // Without CAP_SYS_PTRACE the folder may be readable, but not its links.
          if (Denied()) return Result::kDenied;
          continue;  // closed meanwhile
        }
        const uint64_t inode = SocketInode({target.data(), static_cast<size_t>(read)});
        if (inode != 0 && wanted.contains(inode)) found.insert(inode);
        if (found.size() == wanted.size()) return Result::kRead;
      }
    }
  }

 private:
  std::vector<char> buffer_ = std::vector<char>(size_t{32} << 10);
};

}  // namespace

OwnerGaps FillOwners(std::vector<core::Listener>& listeners, const std::string& proc_root) {
  OwnerGaps gaps;
  absl::flat_hash_map<uint64_t, std::vector<size_t>> wanted;
  for (size_t i = 0; i < listeners.size(); ++i) {
    if (listeners[i].inode != 0 && listeners[i].owner.pid == 0) {
      wanted[listeners[i].inode].push_back(i);
    }
  }
  if (wanted.empty()) return gaps;
  const DirPtr proc = OpenDir(proc_root);
  if (!proc) return gaps;
  constexpr pid_t kInit = 1;
  FdReader reader;
  // All processes, because a socket may have several holders. Ascending, so that the first
  // one found has the lowest pid.
  for (const pid_t pid : ListPids(proc.get())) {
    const base::UniqueFd fds(OpenFolder(dirfd(proc.get()), absl::StrCat(pid, "/fd")));
    if (!fds) {
      if (Denied()) ++gaps.unreadable_processes;
      continue;  // otherwise it ended meanwhile
    }
    absl::flat_hash_set<uint64_t> found;
    if (reader.Find(fds.get(), wanted, found) == FdReader::Result::kDenied) {
      ++gaps.unreadable_processes;
    }
    if (found.empty()) continue;
    // Relative to the open folder, because the kernel may have reused the pid.
    const base::UniqueFd process(OpenFolder(fds.get(), ".."));
    const std::optional<core::Owner> owner = process ? ReadOwner(process.get(), pid) : std::nullopt;
    if (!owner) continue;
    for (const uint64_t inode : found) {
      for (const size_t i : wanted[inode]) {
        core::Owner& known = listeners[i].owner;
        std::vector<pid_t> holders = std::move(known.holders);
        if (known.pid == 0 || known.pid == kInit) known = *owner;
        known.holders = std::move(holders);
        known.holders.push_back(pid);
      }
    }
  }
  return gaps;
}

std::optional<Holding> LookAt(pid_t pid, const absl::flat_hash_set<uint64_t>& wanted,
                              const std::string& proc_root) {
  const base::UniqueFd fds = OpenFolder(AT_FDCWD, absl::StrCat(proc_root, "/", pid, "/fd"));
  if (!fds) return std::nullopt;
  Holding holding;
  if (FdReader().Find(fds.get(), wanted, holding.inodes) == FdReader::Result::kDenied) {
    return std::nullopt;
  }
  const base::UniqueFd process(OpenFolder(fds.get(), ".."));
  std::optional<core::Owner> owner = process ? ReadOwner(process.get(), pid) : std::nullopt;
  if (!owner) return std::nullopt;
  holding.owner = *std::move(owner);
  return holding;
}

std::string CgroupOf(pid_t pid, const std::string& proc_root) {
  const base::UniqueFd process = OpenFolder(AT_FDCWD, absl::StrCat(proc_root, "/", pid));
  return process ? core::PickCgroupPath(ReadOf(process.get(), "cgroup")) : "";
}

}  // namespace npg::node
