// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SERVED_CGROUPS_H_
#define NODEPORT_GUARD_CONTROLLER_SERVED_CGROUPS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "base/event_loop.h"
#include "log/repeated_fault.h"
#include "node/cgroup_watch.h"

namespace npg::controller {

// Keeps a map of cgroups equal to those that the patterns of a flag select, and watches for new
// ones.
class ServedCgroups {
 public:
  struct Settings {
    std::string root;                   // folder of the root of the hierarchy
    std::vector<std::string> patterns;  // see core/cgroup_glob.h
    std::string flag;                   // "--guard-cgroup", for the log
    std::string meanwhile;  // what a failed watch means: "new cgroups are guarded within ..."
  };
  // Writes the ids to the map.
  using Writer = std::function<absl::Status(const absl::flat_hash_set<uint64_t>& ids)>;

  // The loop outlives this. `changed` is called, from the loop, when there may be other cgroups.
  ServedCgroups(base::EventLoop& loop, Settings settings, Writer write,
                std::function<void()> changed);

  // Lists the cgroups, and writes those that are selected if they are others than before.
  absl::Status Sync();

  // Once the loop is about to run: begins to watch.
  void Follow();

  // Every ten seconds: tries again to watch, if that failed.
  void Maintain();

  // True when Sync() should run every ten seconds: it failed, or no watch tells of new cgroups.
  bool NeedsCare() const;

 private:
  void Watch();
  void NoteWatch(const absl::Status& watched);

  base::EventLoop& loop_;
  const Settings settings_;
  const Writer write_;
  const std::function<void()> changed_;
  absl::flat_hash_set<uint64_t> ids_;  // as last listed
  std::unique_ptr<node::CgroupWatch> watch_;
  log::RepeatedFault watch_fault_;
  bool written_ = false;   // the map is as ids_
  bool watching_ = false;  // all folders that the patterns concern
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SERVED_CGROUPS_H_
