// SPDX-License-Identifier: Apache-2.0
#include "listeners/owners.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
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
#include "base/unique_fd.h"
#include "core/listener.h"
#include "core/workload.h"

namespace npg::listeners {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};
using DirPtr = std::unique_ptr<DIR, CloseDir>;

// Opens a folder; on failure errno says why.
DirPtr OpenDir(int at, const char* path) {
  base::UniqueFd fd(openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
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

// The target of a symbolic link; on failure errno says why.
std::optional<std::string> ReadLink(int at, const char* name) {
  std::array<char, 4096> target{};
  const ssize_t length = readlinkat(at, name, target.data(), target.size());
  if (length < 0) return std::nullopt;
  return std::string(target.data(), static_cast<size_t>(length));
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

// A small file of /proc, read at one go as the kernel wants it; empty when it
// cannot be read.
std::string ReadSmallFile(int at, const char* name) {
  const base::UniqueFd fd(openat(at, name, O_RDONLY | O_CLOEXEC));
  if (!fd) return "";
  std::array<char, 8192> buffer{};
  const ssize_t length = read(fd.get(), buffer.data(), buffer.size());
  if (length <= 0) return "";
  return {buffer.data(), static_cast<size_t>(length)};
}

// Empty when the process went away meanwhile.
std::optional<core::Owner> ReadOwner(int process, pid_t pid) {
  core::Owner owner;
  owner.pid = pid;
  owner.comm = ReadSmallFile(process, "comm");
  if (owner.comm.empty()) return std::nullopt;
  if (owner.comm.back() == '\n') owner.comm.pop_back();
  owner.executable = ReadLink(process, "exe").value_or("");
  owner.cgroup = core::PickCgroupPath(ReadSmallFile(process, "cgroup"));
  owner.workload = core::ParseCgroupPath(owner.cgroup);
  return owner;
}

enum class Readable { kYes, kNo };

// The inodes that the process holds open, of those in `wanted`, a set or a map.
template <typename Inodes>
Readable FindInodes(int process, const Inodes& wanted, absl::flat_hash_set<uint64_t>& found) {
  const DirPtr fds = OpenDir(process, "fd");
  if (!fds) return errno == EACCES || errno == EPERM ? Readable::kNo : Readable::kYes;
  while (const dirent* entry = readdir(fds.get())) {  // NOLINT(concurrency-mt-unsafe): as above
    const char* name = static_cast<const char*>(entry->d_name);
    if (name[0] == '.') continue;
    const std::optional<std::string> target = ReadLink(dirfd(fds.get()), name);
    if (!target) {
      // Without CAP_SYS_PTRACE the folder may open where its links do not.
      if (errno == EACCES || errno == EPERM) return Readable::kNo;
      continue;  // closed meanwhile
    }
    const uint64_t inode = SocketInode(*target);
    if (inode != 0 && wanted.contains(inode)) found.insert(inode);
    if (found.size() == wanted.size()) break;
  }
  return Readable::kYes;
}

base::UniqueFd OpenProcess(pid_t pid, const std::string& proc_root) {
  const std::string path = absl::StrCat(proc_root, "/", pid);
  return base::UniqueFd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

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
  const DirPtr proc = OpenDir(AT_FDCWD, proc_root.c_str());
  if (!proc) return gaps;
  constexpr pid_t kInit = 1;
  // To the end, for who else holds a socket matters as much. Ascending, so that
  // the first process found is the one with the lowest pid.
  for (const pid_t pid : ListPids(proc.get())) {
    const base::UniqueFd process(
        openat(dirfd(proc.get()), std::to_string(pid).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!process) continue;  // ended meanwhile
    absl::flat_hash_set<uint64_t> found;
    if (FindInodes(process.get(), wanted, found) == Readable::kNo) ++gaps.unreadable_processes;
    if (found.empty()) continue;
    const std::optional<core::Owner> owner = ReadOwner(process.get(), pid);
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
  const base::UniqueFd process = OpenProcess(pid, proc_root);
  if (!process) return std::nullopt;
  Holding holding;
  if (FindInodes(process.get(), wanted, holding.inodes) == Readable::kNo) return std::nullopt;
  std::optional<core::Owner> owner = ReadOwner(process.get(), pid);
  if (!owner) return std::nullopt;
  holding.owner = *std::move(owner);
  return holding;
}

std::string CgroupOf(pid_t pid, const std::string& proc_root) {
  const base::UniqueFd process = OpenProcess(pid, proc_root);
  return process ? core::PickCgroupPath(ReadSmallFile(process.get(), "cgroup")) : "";
}

}  // namespace npg::listeners
