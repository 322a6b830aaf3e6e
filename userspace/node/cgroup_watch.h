// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_NODE_CGROUP_WATCH_H_
#define NODEPORT_GUARD_NODE_CGROUP_WATCH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace npg::node {

// The ids of the cgroups that a pattern of `globs` (see core/cgroup_glob.h) selects, below
// `root`, the folder of the hierarchy's root. RESOURCE_EXHAUSTED beyond `max` of them.
absl::StatusOr<absl::flat_hash_set<uint64_t>> ListCgroups(const std::string& root,
                                                          const std::vector<std::string>& globs,
                                                          size_t max);

// Calls back, on the loop, some milliseconds after a cgroup was created or removed in a folder
// that the patterns concern (inotify). At most several times a second: each call costs a walk of
// the folders, and a user who may create cgroups there could create them in a loop.
class CgroupWatch {
 public:
  // Called with the status of watching the folders that are new.
  using Changed = std::function<void(const absl::Status& watched)>;

  // The loop outlives this. RESOURCE_EXHAUSTED at the limit of inotify instances or watches.
  static absl::StatusOr<std::unique_ptr<CgroupWatch>> Start(base::EventLoop& loop, std::string root,
                                                            std::vector<std::string> globs,
                                                            Changed changed);
  ~CgroupWatch();
  CgroupWatch(const CgroupWatch&) = delete;
  CgroupWatch& operator=(const CgroupWatch&) = delete;

  // Watches the folders without a watch; to try it again after an error.
  absl::Status WatchFolders();

 private:
  CgroupWatch(base::EventLoop& loop, std::string root, std::vector<std::string> globs,
              Changed changed)
      : loop_(loop),
        root_(std::move(root)),
        globs_(std::move(globs)),
        changed_(std::move(changed)) {}
  void OnReadable();

  base::EventLoop& loop_;
  const std::string root_;
  const std::vector<std::string> globs_;
  const Changed changed_;
  base::UniqueFd inotify_;
  base::EventLoop::TimerId timer_ = 0;  // 0 = not armed
  uint64_t called_ = 0;                 // when changed_ returned, CLOCK_BOOTTIME
};

}  // namespace npg::node

#endif  // NODEPORT_GUARD_NODE_CGROUP_WATCH_H_
