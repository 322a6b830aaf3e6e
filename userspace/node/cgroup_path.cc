// SPDX-License-Identifier: Apache-2.0
#include "node/cgroup_path.h"

#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/small_file.h"
#include "base/unique_fd.h"

namespace npg::node {

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
