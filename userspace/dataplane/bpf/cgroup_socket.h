// SPDX-License-Identifier: Apache-2.0
#ifndef NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_SOCKET_H_
#define NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_SOCKET_H_

#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace npg::dataplane {

// Creates sockets that belong to a cgroup2: the kernel runs a cgroup's programs for the sockets
// that its processes created, whichever process uses them later. This process need not be in the
// cgroup.
//
// One child process that starts in the cgroup creates them all (CLONE_INTO_CGROUP, kernel commit
// ef2c41cf38a7, 5.7). It has no other descriptor of this process than those it needs, where
// the kernel has close_range(2) (5.9) and a seccomp profile permits it. A thread waits for it, so
// that a cgroup that is frozen or throttled does not hold up the caller.
class CgroupSockets {
 public:
  // Arguments of socket(2).
  struct Kind {
    int family = 0;
    int type = 0;
  };
  struct Made {
    std::vector<absl::StatusOr<base::UniqueFd>> sockets;  // in the order of the kinds
    // OK when the sockets belong to the cgroup (for the root of the hierarchy: to any cgroup).
    // Otherwise why not: this process created them, so they belong to this process's cgroup,
    // which may be in or below that one or not.
    absl::Status entered;
  };

  static absl::StatusOr<std::unique_ptr<CgroupSockets>> Start(int cgroup_fd,
                                                              std::vector<Kind> kinds);
  // Waits for the child, which ends within half a second.
  ~CgroupSockets();
  CgroupSockets(const CgroupSockets&) = delete;
  CgroupSockets& operator=(const CgroupSockets&) = delete;

  // The sockets, once; waits for them for `wait` at most. nullopt: they are not ready.
  // NOT_FOUND when the cgroup was removed, UNAVAILABLE when the child got no time.
  std::optional<absl::StatusOr<Made>> Take(absl::Duration wait);

 private:
  explicit CgroupSockets(std::vector<Kind> kinds);

  Made MakeHere(absl::Status entered) const;
  absl::StatusOr<Made> Receive() const;

  const std::vector<Kind> kinds_;
  base::UniqueFd cgroup_;
  base::UniqueFd reader_;
  base::UniqueFd writer_;
  absl::Status started_;     // of the thread
  std::promise<int> ended_;  // 0, or the errno of clone3(2)
  std::future<int> end_;
  std::thread thread_;  // not joinable: the sockets are created here
};

}  // namespace npg::dataplane

#endif  // NODEPORT_GUARD_DATAPLANE_BPF_CGROUP_SOCKET_H_
