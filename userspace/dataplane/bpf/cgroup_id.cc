// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/cgroup_id.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstdint>

#include "absl/status/statusor.h"
#include "base/errno_status.h"

namespace npg::dataplane {

absl::StatusOr<uint64_t> CgroupId(int cgroup_fd) {
  // On 64-bit kernels the inode number of a cgroup2 folder is its id.
  struct stat cgroup {};
  if (fstat(cgroup_fd, &cgroup) != 0) return base::ErrnoStatus(errno, "stat the cgroup");
  return cgroup.st_ino;
}

bool IsHierarchyRoot(int cgroup_fd) {
  constexpr uint64_t kRootId = 1;
  // The root of another file system may have the same number.
  struct statfs file_system {};
  if (fstatfs(cgroup_fd, &file_system) != 0 ||
      static_cast<uint64_t>(file_system.f_type) != CGROUP2_SUPER_MAGIC) {
    return false;
  }
  const absl::StatusOr<uint64_t> id = CgroupId(cgroup_fd);
  return id.ok() && *id == kRootId;
}

}  // namespace npg::dataplane
