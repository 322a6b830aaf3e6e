// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_CONTROLLER_LOCK_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_CONTROLLER_LOCK_H_

#include <sys/types.h>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "dataplane/bpf/pin_paths.h"

namespace npg::dataplane {

// The right to change the pins, for one process at a time. It is a flock(2) on the pin
// folder, which the kernel releases when its holder ends; a pid file could be stale.
class ControllerLock {
 public:
  // Creates the folder (0700) if needed. UNAVAILABLE, with the holder's pid,
  // when another process has the lock; FAILED_PRECONDITION when `pins.bpffs()`
  // is not on a bpf file system.
  static absl::StatusOr<ControllerLock> Acquire(const PinPaths& pins);

  ControllerLock(ControllerLock&&) = default;
  ControllerLock& operator=(ControllerLock&&) = default;
  ControllerLock(const ControllerLock&) = delete;
  ControllerLock& operator=(const ControllerLock&) = delete;
  // Takes the lock on the folder that now has the name, if that is not the one that this
  // lock is on: another process removed it, and perhaps created it again. Creates it if needed.
  // Errors as Acquire(): this lock then keeps the removed folder, so call it again later.
  // True when it took one.
  absl::StatusOr<bool> Renew();

  // Removes the locked folder if it is empty: a failed start leaves nothing.
  ~ControllerLock();

 private:
  ControllerLock(PinPaths pins, base::UniqueFd fd);

  PinPaths pins_;
  base::UniqueFd fd_;
};

// The pid of the process that holds the lock, from /proc/locks: 0 when no process
// does, -1 when it runs in a pid namespace that is not visible.
absl::StatusOr<pid_t> ControllerPid(const PinPaths& pins);

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_CONTROLLER_LOCK_H_
