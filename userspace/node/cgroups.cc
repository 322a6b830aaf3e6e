// SPDX-License-Identifier: Apache-2.0
#include "node/cgroups.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"

namespace npg::node {

absl::StatusOr<uint64_t> CgroupId(int cgroup_fd) {
  // On 64-bit kernels the inode number of a cgroup2 folder is its id.
  struct stat cgroup {};
  if (fstat(cgroup_fd, &cgroup) != 0) return base::ErrnoStatus(errno, "stat the cgroup");
  return cgroup.st_ino;
}

bool IsHierarchyRoot(int cgroup_fd) {
  // Other file systems give their roots the same number.
  struct statfs file_system {};
  if (fstatfs(cgroup_fd, &file_system) != 0 ||
      static_cast<uint64_t>(file_system.f_type) != CGROUP2_SUPER_MAGIC) {
    return false;
  }
  const absl::StatusOr<uint64_t> id = CgroupId(cgroup_fd);
  return id.ok() && *id == kRootCgroupId;
}

bool IsHierarchyRoot(const std::string& folder) {
  const base::UniqueFd fd(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  return fd && IsHierarchyRoot(fd.get());
}

std::string CgroupPath(const std::string& cgroup_folder, uint64_t cgroup_id) {
  const base::UniqueFd mount(open(cgroup_folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!mount) return "";
  // The id of a cgroup is the file handle of its folder (kernfs: type FILEID_KERNFS).
  constexpr int kKernfsHandle = 0xfe;
  struct {
    file_handle header;
    uint64_t id;
  } handle{};
  static_assert(offsetof(file_handle, f_handle) == sizeof(file_handle));
  handle.header.handle_bytes = sizeof(handle.id);
  handle.header.handle_type = kKernfsHandle;
  handle.id = cgroup_id;
  const base::UniqueFd cgroup(
      open_by_handle_at(mount.get(), &handle.header, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return "";
  return base::ReadLink(absl::StrCat("/proc/self/fd/", cgroup.get())).value_or("");
}

std::string CgroupBelowRoot(const std::string& cgroup_folder, uint64_t cgroup_id) {
  std::string path = CgroupPath(cgroup_folder, cgroup_id);
  const std::string root = CgroupPath(cgroup_folder, kRootCgroupId);
  if (path.empty() || root.empty() || !absl::StartsWith(path, root)) return path;
  return path == root ? "/" : path.substr(root.size());
}

}  // namespace npg::node
