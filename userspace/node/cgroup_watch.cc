// SPDX-License-Identifier: Apache-2.0
#include "node/cgroup_watch.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "core/cgroup_glob.h"
#include "node/cgroups.h"

namespace npg::node {
namespace {

// Cgroups come in bursts: a pod has several.
constexpr absl::Duration kSettle = absl::Milliseconds(5);
constexpr absl::Duration kMinInterval = absl::Milliseconds(250);

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

bool AnyOf(const std::vector<std::string>& globs, const std::string& path,
           bool (*says)(absl::string_view, absl::string_view)) {
  return std::any_of(globs.begin(), globs.end(),
                     [&](const std::string& glob) { return says(glob, path); });
}

// The error of a call of inotify, which `limit` may explain.
absl::Status InotifyError(int error, const std::string& what, absl::string_view limit) {
  absl::Status status = base::ErrnoStatus(error, what);
  if (error != EMFILE && error != ENOSPC) return status;
  return absl::ResourceExhaustedError(absl::StrCat(status.message(), "; raise ", limit));
}

// Visits the folders that the patterns select, or below which they may select some.
absl::Status WalkCgroups(
    const std::string& root, const std::vector<std::string>& globs,
    absl::FunctionRef<absl::Status(const std::string& path, int fd, bool selected)> visit) {
  std::vector<std::string> pending = {""};  // below the root
  while (!pending.empty()) {
    const std::string path = std::move(pending.back());
    pending.pop_back();
    const bool selected = AnyOf(globs, path, core::SelectsCgroup);
    if (!selected && !AnyOf(globs, path, core::MaySelectBelow)) continue;
    base::UniqueFd fd(open(absl::StrCat(root, path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) {
      if (errno == ENOENT && !path.empty()) continue;  // removed meanwhile
      return base::ErrnoStatus(errno, absl::StrCat("open cgroup ", root, path));
    }
    NPG_RETURN_IF_ERROR(visit(path, fd.get(), selected));
    const std::unique_ptr<DIR, CloseDir> dir(fdopendir(fd.get()));
    if (!dir) return base::ErrnoStatus(errno, absl::StrCat("read cgroup ", root, path));
    fd.Release();
    while (const dirent* entry = readdir(dir.get())) {  // NOLINT(concurrency-mt-unsafe): our own
      const std::string name = static_cast<const char*>(entry->d_name);
      if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
      pending.push_back(absl::StrCat(path, "/", name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<absl::flat_hash_set<uint64_t>> ListCgroups(const std::string& root,
                                                          const std::vector<std::string>& globs,
                                                          size_t max) {
  absl::flat_hash_set<uint64_t> ids;
  const absl::Status walked = WalkCgroups(
      root, globs, [&](const std::string& /*path*/, int fd, bool selected) -> absl::Status {
        if (!selected) return absl::OkStatus();
        const absl::StatusOr<uint64_t> id = CgroupId(fd);
        if (!id.ok()) return id.status();
        if (ids.size() == max) {
          return absl::ResourceExhaustedError(
              absl::StrCat("--guard-cgroup selects more than ", max, " cgroups"));
        }
        ids.insert(*id);
        return absl::OkStatus();
      });
  if (!walked.ok()) return walked;
  return ids;
}

absl::StatusOr<std::unique_ptr<CgroupWatch>> CgroupWatch::Start(base::EventLoop& loop,
                                                                std::string root,
                                                                std::vector<std::string> globs,
                                                                Changed changed) {
  std::unique_ptr<CgroupWatch> watch(
      new CgroupWatch(loop, std::move(root), std::move(globs), std::move(changed)));
  watch->inotify_.Reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch->inotify_) {
    return InotifyError(errno, "create an inotify instance",
                        "fs.inotify.max_user_instances or the limit of open files");
  }
  NPG_RETURN_IF_ERROR(watch->WatchFolders());
  NPG_RETURN_IF_ERROR(loop.AddFd(watch->inotify_.get(), EPOLLIN,
                                 [owner = watch.get()](uint32_t) { owner->OnReadable(); }));
  return watch;
}

CgroupWatch::~CgroupWatch() {
  loop_.RemoveFd(inotify_.get());
  if (timer_ != 0) loop_.Cancel(timer_);
}

// Adding a folder that is watched already changes nothing; the kernel drops removed ones.
absl::Status CgroupWatch::WatchFolders() {
  return WalkCgroups(root_, globs_, [&](const std::string& path, int /*fd*/, bool /*selected*/) {
    const std::string folder = absl::StrCat(root_, path);
    if (inotify_add_watch(inotify_.get(), folder.c_str(),
                          IN_CREATE | IN_DELETE | IN_ONLYDIR | IN_DONT_FOLLOW) < 0 &&
        errno != ENOENT) {
      return InotifyError(errno, absl::StrCat("watch cgroup ", folder),
                          "fs.inotify.max_user_watches");
    }
    return absl::OkStatus();
  });
}

void CgroupWatch::OnReadable() {
  std::array<char, 4096> events;
  while (read(inotify_.get(), events.data(), events.size()) > 0) {
  }
  if (timer_ != 0) return;
  const auto since = absl::Nanoseconds(static_cast<int64_t>(base::BootNanoseconds() - called_));
  timer_ = loop_.After(std::max(kSettle, kMinInterval - since), [this] {
    timer_ = 0;
    changed_(WatchFolders());
    called_ = base::BootNanoseconds();
  });
}

}  // namespace npg::node
