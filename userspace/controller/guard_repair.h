// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_CONTROLLER_GUARD_REPAIR_H_
#define NODEPORT_GUARD_CONTROLLER_GUARD_REPAIR_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/controller_lock.h"
#include "log/repeated_fault.h"

namespace npg::controller {

// A descriptor of this folder of a cgroup2.
absl::StatusOr<base::UniqueFd> OpenCgroup(const std::string& path);

// Restores what other processes removed of the BPF half of the guard: links, pins, and the lock on
// their folder. Logs and counts each repair.
class GuardRepair {
 public:
  // guard and lock outlive this. `cgroup` is a descriptor of the folder `cgroup_path`; `pin_folder`
  // is for the log.
  GuardRepair(dataplane::BpfGuard& guard, dataplane::ControllerLock& lock, base::UniqueFd cgroup,
              std::string cgroup_path, std::string pin_folder);

  // Of the guarded cgroup. Repair() may replace it.
  int cgroup_fd() const { return cgroup_.get(); }

  // OK when this process has the lock, if need be after taking it again; errors as
  // dataplane::ControllerLock::Renew().
  absl::Status RenewLock();

  void Repair();

  // Counts repairs, also those of the table.
  void Count(uint64_t repairs);

 private:
  dataplane::BpfGuard& guard_;
  dataplane::ControllerLock& lock_;
  base::UniqueFd cgroup_;
  const std::string cgroup_path_;
  const std::string pin_folder_;
  log::RepeatedFault lock_fault_{"keep the lock on the pins"};
  log::RepeatedFault repair_fault_{"repair the BPF links"};
};

}  // namespace npg::controller

#endif  // NODEPORT_GUARD_CONTROLLER_GUARD_REPAIR_H_
