// SPDX-License-Identifier: Apache-2.0
#include "sources/file_watch.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"

namespace npg::sources {
namespace {

constexpr uint32_t kReplaced = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB;
constexpr uint32_t kEvents = kReplaced | IN_MODIFY | IN_CLOSE_WRITE | IN_ONLYDIR;

int64_t Nanoseconds(const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; }

FileIdentity Identify(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return {};
  return {status.st_dev, status.st_ino, status.st_size, Nanoseconds(status.st_mtim),
          Nanoseconds(status.st_ctim)};
}

bool SameFile(const FileIdentity& a, const FileIdentity& b) {
  return a.device == b.device && a.inode == b.inode;
}

// Folder and name of a path.
std::pair<std::string, std::string> Split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {path.substr(0, slash + 1), path.substr(slash + 1)};
}

// True for a new file that another process is about to write. A symbolic or hard link
// is complete at once; no close event follows.
bool ToBeWritten(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1;
}

}  // namespace

FileWatch::FileWatch(base::EventLoop& loop, std::string path, const Options& options,
                     std::function<void()> changed)
    : loop_(loop),
      path_(std::move(path)),
      options_(options),
      changed_(std::move(changed)),
      inotify_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  if (inotify_ && !loop_.AddFd(inotify_.get(), EPOLLIN, [this](uint32_t) { OnInotify(); }).ok()) {
    inotify_.Reset();  // only poll
  }
  WatchFolders();
  polled_ = Identify(path_);
  check_timer_ = loop_.After(absl::ZeroDuration(), [this] { Check(); });
  poll_timer_ = loop_.After(options_.poll, [this] { Poll(); });
}

FileWatch::~FileWatch() {
  loop_.Cancel(check_timer_);
  loop_.Cancel(poll_timer_);
  if (inotify_) loop_.RemoveFd(inotify_.get());
}

void FileWatch::WatchFolders() {
  if (!inotify_) return;
  absl::flat_hash_map<int, std::vector<std::string>> folders;
  std::vector<std::string> paths = {path_};
  std::array<char, PATH_MAX> resolved{};
  if (realpath(path_.c_str(), resolved.data()) != nullptr) paths.emplace_back(resolved.data());
  for (const std::string& path : paths) {
    auto [folder, name] = Split(path);
    // Returns the same descriptor for a folder that is already watched.
    const int watch = inotify_add_watch(inotify_.get(), folder.c_str(), kEvents);
    if (watch >= 0) folders[watch].push_back(std::move(name));
  }
  for (const auto& [watch, names] : folders_) {
    if (!folders.contains(watch)) inotify_rm_watch(inotify_.get(), watch);
  }
  folders_ = std::move(folders);
}

void FileWatch::OnInotify() {
  alignas(inotify_event) std::array<char, 16 * (sizeof(inotify_event) + NAME_MAX + 1)> buffer;
  const ssize_t got = read(inotify_.get(), buffer.data(), buffer.size());
  for (ssize_t offset = 0; offset + static_cast<ssize_t>(sizeof(inotify_event)) <= got;) {
    inotify_event event{};
    const char* const start = buffer.data() + offset;
    std::memcpy(&event, start, sizeof(event));
    const char* const name = start + sizeof(event);
    OnEvent(event, absl::string_view(name, strnlen(name, event.len)));
    offset += static_cast<ssize_t>(sizeof(event) + event.len);
  }
}

bool FileWatch::BeingWritten() {
  if (inotify_) OnInotify();
  if (written_ == FileIdentity{}) return false;
  checked_ = false;
  return true;
}

void FileWatch::OnEvent(const inotify_event& event, absl::string_view name) {
  const auto folder = folders_.find(event.wd);
  const bool ours =
      folder != folders_.end() &&
      std::find(folder->second.begin(), folder->second.end(), name) != folder->second.end();
  if (ours) return OnOurFile(event.mask);
  // Another name in the folder may be a link on the path to the file, as ..data in a
  // ConfigMap volume; a write to it does not concern the file.
  if ((event.mask & (IN_MODIFY | IN_CLOSE_WRITE)) == 0) ScheduleCheck();
}

void FileWatch::OnOurFile(uint32_t mask) {
  if ((mask & IN_CLOSE_WRITE) != 0) {
    written_ = {};
    checked_ = false;  // a write may change neither size nor (within a clock tick) time
    return ScheduleCheck();
  }
  if ((mask & IN_MODIFY) != 0 || ((mask & IN_CREATE) != 0 && ToBeWritten(path_))) {
    written_ = Identify(path_);
    unchanged_ = absl::ZeroDuration();
    return;
  }
  ScheduleCheck();
}

void FileWatch::ScheduleCheck() {
  if (check_timer_ != 0) return;
  check_timer_ = loop_.After(options_.debounce, [this] { Check(); });
}

void FileWatch::Poll() {
  poll_timer_ = loop_.After(options_.poll, [this] { Poll(); });
  const FileIdentity now = Identify(path_);
  const bool settled = now == polled_;
  polled_ = now;
  unchanged_ = settled ? unchanged_ + options_.poll : absl::ZeroDuration();
  if (unchanged_ >= options_.patience) written_ = {};
  // A change without an event may be half a file: wait for the next poll.
  if (!settled) return;
  loop_.Cancel(check_timer_);
  Check();
}

void FileWatch::Check() {
  check_timer_ = 0;
  if (inotify_) OnInotify();  // in case another process has begun to write
  WatchFolders();
  const FileIdentity now = Identify(path_);
  if (written_ != FileIdentity{}) {
    if (SameFile(now, written_)) return;
    written_ = {};  // another file has replaced it
  }
  if (checked_ && now == last_) return;
  checked_ = true;
  last_ = now;
  changed_();
}

}  // namespace npg::sources
