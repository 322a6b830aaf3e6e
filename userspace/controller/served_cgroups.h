// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_SERVED_CGROUPS_H_
#define NODEPORT_GUARD_CONTROLLER_SERVED_CGROUPS_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/event_loop.h"
#include "core/owner_policy.h"
#include "dataplane/bpf/bpf_guard.h"
#include "log/repeated_fault.h"
#include "node/cgroup_watch.h"

namespace npg::controller {

// Keeps guard_cgroups, and with it OwnerRules::served_cgroups, equal to the cgroups that the policy
// selects, and watches for new ones.
class ServedCgroups {
 public:
  // All outlive this. `root`: folder of the root of the hierarchy. `changed` is called, from the
  // loop, when there may be other cgroups.
  ServedCgroups(base::EventLoop& loop, dataplane::BpfGuard& guard, core::OwnerRules& rules,
                std::string root, std::function<void()> changed);

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
  dataplane::BpfGuard& guard_;
  core::OwnerRules& rules_;
  const std::string root_;
  const std::function<void()> changed_;
  std::unique_ptr<node::CgroupWatch> watch_;
  log::RepeatedFault watch_fault_{"follow the cgroups of --guard-cgroup"};
  bool written_ = false;   // guard_cgroups is as rules_ has it
  bool watching_ = false;  // all folders that the patterns concern
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_SERVED_CGROUPS_H_
