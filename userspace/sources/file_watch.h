// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_SOURCES_FILE_WATCH_H_
#define NODEPORT_GUARD_SOURCES_FILE_WATCH_H_

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

struct inotify_event;

namespace npg::sources {

// Identifies one state of a file. All zero: there is no file.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  int64_t modified_ns = 0;  // since the epoch
  int64_t changed_ns = 0;   // ctime, which no process can set

  auto operator<=>(const FileIdentity&) const = default;
};

// Reports when a file should be read again: it was written and closed, replaced
// (rename, symbolic link, ConfigMap volume), removed, or became readable.
//
// Uses inotify in the folder of the path and in that of the file that the path resolves
// to, and polls for changes that inotify does not report (a replaced folder above, a
// network file system, no inotify instance). A file that is being written is ignored
// until it is closed, or has not changed for `patience`: a writer may never close it.
class FileWatch {
 public:
  struct Options {
    absl::Duration debounce = absl::Milliseconds(50);
    absl::Duration poll = absl::Seconds(2);
    absl::Duration patience = absl::Seconds(10);
  };

  // Calls `changed`, from the loop, once at the start and then after each
  // change. `changed` must not destroy the FileWatch.
  FileWatch(base::EventLoop& loop, std::string path, const Options& options,
            std::function<void()> changed);
  ~FileWatch();
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // Call it after reading: true if a process has begun to write the file, so that only
  // part of it may have been read. `changed` is called again when it is complete.
  bool BeingWritten();

  // Call it after reading failed: the next poll calls `changed` again, also if the file has not
  // changed.
  void Again() { checked_ = false; }

 private:
  void OnInotify();
  void OnEvent(const inotify_event& event, absl::string_view name);
  void OnOurFile(uint32_t mask);
  void WatchFolders();
  void ScheduleCheck();
  void Poll();
  void Check();

  base::EventLoop& loop_;
  const std::string path_;
  const Options options_;
  const std::function<void()> changed_;

  base::UniqueFd inotify_;
  // Watch descriptor → the names in that folder that are the file.
  absl::flat_hash_map<int, std::vector<std::string>> folders_;
  base::EventLoop::TimerId check_timer_ = 0;  // 0 = not armed
  base::EventLoop::TimerId poll_timer_ = 0;

  bool checked_ = false;
  FileIdentity last_;         // as it was when `changed` was called
  FileIdentity written_;      // the file that is being written; all zero: none
  FileIdentity polled_;       // as the last poll found it
  absl::Duration unchanged_;  // for how long it has been like that
};

}  // namespace npg::sources

#endif  // NODEPORT_GUARD_SOURCES_FILE_WATCH_H_
