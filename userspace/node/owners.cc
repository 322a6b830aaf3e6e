// SPDX-License-Identifier: Apache-2.0
#include "node/owners.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/thread.h"
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

// The first number of "Uid:" in the text of /proc/PID/status; nullopt when there is none.
std::optional<uint32_t> RealUid(absl::string_view status) {
  for (absl::string_view line : absl::StrSplit(status, '\n')) {
    if (!absl::ConsumePrefix(&line, "Uid:")) continue;
    const std::vector<absl::string_view> ids =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    uint32_t uid = 0;
    if (ids.empty() || !absl::SimpleAtoi(ids.front(), &uid)) return std::nullopt;
    return uid;
  }
  return std::nullopt;
}

// The path on cgroup2 in the text of /proc/PID/cgroup; empty when there is none.
std::string Cgroup2Path(absl::string_view cgroups) {
  for (absl::string_view line : absl::StrSplit(cgroups, '\n')) {
    if (absl::ConsumePrefix(&line, "0::")) return std::string(line);
  }
  return "";
}

bool Denied() { return errno == EACCES || errno == EPERM; }

// Reads folders /proc/PID/fd, within a budget. That is a system call for each descriptor, so
// each must cost little more.
class FdReader {
 public:
  enum class Result : uint8_t { kRead, kDenied, kCut };

  // `left` is the number of descriptors that may be read, by all readers of one search.
  FdReader(const OwnerBudget& budget, uint64_t deadline, std::atomic<size_t>& left)
      : budget_(budget), deadline_(deadline), left_(left) {}

  // Calls `visit` with the name and the inode of each socket that is open in the folder, until
  // it returns false. A process that ends meanwhile has none.
  template <typename Visit>
  Result Read(int folder, Visit visit) {
    size_t left = budget_.descriptors_of_process;
    for (;;) {
      if (Ended()) return Result::kCut;
      const ssize_t size = getdents64(folder, buffer_.data(), buffer_.size());
      if (size <= 0) return size < 0 && Denied() ? Result::kDenied : Result::kRead;
      for (size_t at = 0; at < static_cast<size_t>(size);) {
        const char* const entry = buffer_.data() + at;
        uint16_t length = 0;
        std::memcpy(&length, entry + offsetof(dirent64, d_reclen), sizeof(length));
        const char* const name = entry + offsetof(dirent64, d_name);
        at += length;
        if (*name == '.') continue;
        if (left == 0) return Result::kCut;
        --left;
        if (!TakeOne()) return Result::kCut;
        // A longer target is truncated, and is not a socket.
        std::array<char, sizeof("socket:[18446744073709551615]")> target;
        const ssize_t read = readlinkat(folder, name, target.data(), target.size());
        if (read < 0) {
          // Without CAP_SYS_PTRACE the folder may be readable, but not its links.
          if (Denied()) return Result::kDenied;
          continue;  // closed meanwhile
        }
        const uint64_t inode = SocketInode({target.data(), static_cast<size_t>(read)});
        if (inode != 0 && !visit(name, inode)) return Result::kRead;
      }
    }
  }

 private:
  bool Ended() const {
    return (budget_.stop != nullptr && budget_.stop->load()) || base::BootNanoseconds() > deadline_;
  }

  bool TakeOne() {
    size_t left = left_.load(std::memory_order_relaxed);
    while (left > 0 && !left_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) {
    }
    return left > 0;
  }

  const OwnerBudget& budget_;
  const uint64_t deadline_;  // CLOCK_BOOTTIME
  std::atomic<size_t>& left_;
  std::vector<char> buffer_ = std::vector<char>(size_t{32} << 10);
};

// The listeners without an owner, by inode.
using WantedSockets = absl::flat_hash_map<uint64_t, std::vector<size_t>>;

void AddHolder(core::Owner& known, const core::Owner& owner) {
  constexpr pid_t kInit = 1;
  std::vector<pid_t> holders = std::move(known.holders);
  holders.insert(std::upper_bound(holders.begin(), holders.end(), owner.pid), owner.pid);
  const bool better =
      known.pid == 0 || known.pid == kInit || (owner.pid < known.pid && owner.pid != kInit);
  if (better) known = owner;
  known.holders = std::move(holders);
}

// What the descriptors of one process show.
struct Process {
  size_t turn = 0;
  bool denied = false;
  bool cut = false;
  absl::flat_hash_map<uint64_t, int> found;  // descriptors of wanted sockets by inode
  core::Owner owner;
  Holder holder;  // empty unless holders are wanted
};

Process ReadProcess(FdReader& reader, int proc, pid_t pid, const WantedSockets& wanted,
                    bool holders) {
  Process read;
  const base::UniqueFd fds(OpenFolder(proc, absl::StrCat(pid, "/fd")));
  if (!fds) {
    read.denied = Denied();  // otherwise it ended meanwhile
    return read;
  }
  const FdReader::Result result = reader.Read(fds.get(), [&](const char* name, uint64_t inode) {
    int descriptor = -1;
    if (wanted.contains(inode) && absl::SimpleAtoi(name, &descriptor)) {
      read.found.try_emplace(inode, descriptor);
    }
    return read.found.size() < wanted.size();
  });
  read.denied = result == FdReader::Result::kDenied;
  read.cut = result == FdReader::Result::kCut;
  if (read.found.empty()) return read;
  // Relative to the open folder, because the kernel may have reused the pid.
  const base::UniqueFd process(OpenFolder(fds.get(), ".."));
  std::optional<core::Owner> owner = process ? ReadOwner(process.get(), pid) : std::nullopt;
  if (!owner) {
    read.found.clear();
    return read;
  }
  read.owner = *std::move(owner);
  read.holder.pid = pid;
  if (holders) {
    read.holder.uid = RealUid(ReadOf(process.get(), "status"));
    read.holder.cgroup = Cgroup2Path(ReadOf(process.get(), "cgroup"));
  }
  return read;
}

void AddProcess(Process read, const WantedSockets& wanted, std::vector<core::Listener>& listeners,
                OwnerGaps& gaps, Holders* holders) {
  gaps.unreadable_processes += read.denied ? 1 : 0;
  gaps.skipped_processes += read.cut ? 1 : 0;
  for (const auto& [inode, descriptor] : read.found) {
    for (const size_t i : wanted.at(inode)) AddHolder(listeners[i].owner, read.owner);
    if (holders == nullptr) continue;
    read.holder.descriptor = descriptor;
    (*holders)[inode].push_back(read.holder);
  }
}

// What there is to know of processes, in the order of `pids`. Reads by as many threads as the
// budget has: the kernel does nearly all of the work, and does it for several processes at a time.
std::vector<Process> ReadProcesses(int proc, const std::vector<pid_t>& pids,
                                   const WantedSockets& wanted, const OwnerBudget& budget,
                                   bool holders) {
  // Fewer processes are not worth a thread.
  constexpr size_t kManyProcesses = 256;
  const uint64_t deadline =
      base::BootNanoseconds() + static_cast<uint64_t>(absl::ToInt64Nanoseconds(budget.time));
  std::atomic<size_t> left = budget.descriptors;
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::vector<Process> all;
  const auto work = [&] {
    FdReader reader(budget, deadline, left);
    for (size_t i = next++; i < pids.size(); i = next++) {
      Process read = ReadProcess(reader, proc, pids[i], wanted, holders);
      if (!read.denied && !read.cut && read.found.empty()) continue;
      read.turn = i;
      const std::lock_guard<std::mutex> lock(mutex);
      all.push_back(std::move(read));
    }
  };
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < budget.threads && pids.size() >= kManyProcesses; ++i) {
    absl::StatusOr<std::thread> helper = base::StartThread("npg-owners", work);
    if (!helper.ok()) break;  // this thread alone takes longer
    helpers.push_back(*std::move(helper));
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  std::sort(all.begin(), all.end(),
            [](const Process& a, const Process& b) { return a.turn < b.turn; });
  return all;
}

// Whether the folder shows the processes of all users and pid namespaces. 4026531836 is the inode
// of the initial pid namespace on every kernel (PROC_PID_INIT_INO, include/linux/proc_ns.h); with
// the mount option hidepid, pid 1 is not in sight.
bool ShowsAllProcesses(int proc) {
  const absl::StatusOr<std::string> own = base::ReadLink("self/ns/pid", proc);
  return own.ok() && *own == "pid:[4026531836]" && OpenFolder(proc, "1/fd");
}

}  // namespace

OwnerGaps FillOwners(std::vector<core::Listener>& listeners, const std::string& proc_root,
                     const OwnerBudget& budget, Holders* holders) {
  OwnerGaps gaps;
  WantedSockets wanted;
  std::vector<pid_t> binders;
  for (size_t i = 0; i < listeners.size(); ++i) {
    if (listeners[i].inode == 0 || listeners[i].owner.pid != 0) continue;
    wanted[listeners[i].inode].push_back(i);
    if (listeners[i].binder && listeners[i].binder->pid > 0) {
      binders.push_back(listeners[i].binder->pid);
    }
  }
  if (wanted.empty()) return gaps;
  const DirPtr proc = OpenDir(proc_root);
  if (!proc) return gaps;
  std::sort(binders.begin(), binders.end());
  binders.erase(std::unique(binders.begin(), binders.end()), binders.end());
  // All others, too, because a socket may have several holders.
  std::vector<pid_t> pids = binders;
  for (const pid_t pid : ListPids(proc.get())) {
    if (!std::binary_search(binders.begin(), binders.end(), pid)) pids.push_back(pid);
  }
  for (Process& read :
       ReadProcesses(dirfd(proc.get()), pids, wanted, budget, /*holders=*/holders != nullptr)) {
    AddProcess(std::move(read), wanted, listeners, gaps, holders);
  }
  if (gaps.unreadable_processes > 0 || gaps.skipped_processes > 0 ||
      !ShowsAllProcesses(dirfd(proc.get()))) {
    return gaps;
  }
  for (const auto& [inode, indices] : wanted) {
    for (const size_t i : indices) {
      core::Owner& owner = listeners[i].owner;
      owner.no_process = owner.pid == 0;
    }
  }
  return gaps;
}

std::string CommOf(pid_t pid, const std::string& proc_root) {
  const base::UniqueFd process = OpenFolder(AT_FDCWD, absl::StrCat(proc_root, "/", pid));
  std::string comm = process ? ReadOf(process.get(), "comm") : "";
  if (!comm.empty()) comm.pop_back();  // the line feed
  return comm;
}

absl::StatusOr<base::UniqueFd> DuplicateSocket(pid_t pid, int descriptor, uint64_t inode) {
  const base::UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!process && errno == ESRCH) {
    return absl::NotFoundError(absl::StrCat("open process ", pid, ": it has ended"));
  }
  if (!process) return base::ErrnoStatus(errno, absl::StrCat("open process ", pid));
  base::UniqueFd socket(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), descriptor, 0)));
  const int error = socket ? 0 : errno;
  const std::string what = absl::StrCat("duplicate descriptor ", descriptor, " of process ", pid);
  if (!socket && error != EBADF && error != ESRCH) return base::ErrnoStatus(error, what);
  // The process may have used the number again, for another file.
  struct stat now {};
  if (!socket || fstat(socket.get(), &now) != 0 || !S_ISSOCK(now.st_mode) || now.st_ino != inode) {
    return absl::NotFoundError(absl::StrCat(what, ": the descriptor was closed meanwhile"));
  }
  return socket;
}

std::string CgroupOf(pid_t pid, const std::string& proc_root) {
  const base::UniqueFd process = OpenFolder(AT_FDCWD, absl::StrCat(proc_root, "/", pid));
  return process ? core::PickCgroupPath(ReadOf(process.get(), "cgroup")) : "";
}

}  // namespace npg::node
