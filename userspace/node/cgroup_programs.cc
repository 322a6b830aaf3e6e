// SPDX-License-Identifier: Apache-2.0
#include "node/cgroup_programs.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace npg::node {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::pair<bpf_attach_type, const char*>, 4> kHooks = {{
    {BPF_CGROUP_INET4_CONNECT, "connect4"},
    {BPF_CGROUP_INET6_CONNECT, "connect6"},
    {BPF_CGROUP_INET4_BIND, "bind4"},
    {BPF_CGROUP_INET6_BIND, "bind6"},
}};

// Far more than a node has; a tree without an end is not walked for ever.
constexpr size_t kMostCgroups = 20000;

bool IsCgroup2(const std::string& path) {
  struct statfs info {};
  return statfs(path.c_str(), &info) == 0 &&
         static_cast<uint64_t>(info.f_type) == CGROUP2_SUPER_MAGIC;
}

std::string ProgramName(uint32_t id) {
  const base::UniqueFd program(bpf_prog_get_fd_by_id(id));
  if (!program) return "";
  bpf_prog_info info{};
  uint32_t size = sizeof(info);
  if (bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0) return "";
  return info.name;
}

// Adds what is attached to one cgroup. NOT_FOUND when it is gone.
absl::Status Query(const std::string& cgroup, CgroupRelation relation,
                   const std::vector<uint32_t>& own, std::vector<AttachedPrograms>& attached) {
  const base::UniqueFd fd(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return base::ErrnoStatus(errno, absl::StrCat("open ", cgroup));
  for (const auto& [type, hook] : kHooks) {
    std::array<uint32_t, 64> ids{};  // as many as the kernel takes for one hook of a cgroup
    auto count = static_cast<uint32_t>(ids.size());
    uint32_t flags = 0;
    if (bpf_prog_query(fd.get(), type, 0, &flags, ids.data(), &count) != 0) {
      return base::ErrnoStatus(errno,
                               absl::StrCat("ask for the programs at ", hook, " of ", cgroup));
    }
    if (count == 0) continue;
    AttachedPrograms entry{cgroup, relation, hook, flags, {}};
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t id = ids.at(i);
      const bool ours = std::find(own.begin(), own.end(), id) != own.end();
      entry.programs.push_back({id, ProgramName(id), ours});
    }
    attached.push_back(std::move(entry));
  }
  return absl::OkStatus();
}

void QueryBelow(const std::string& cgroup, const std::vector<uint32_t>& own,
                CgroupPrograms& programs) {
  std::error_code error;
  fs::recursive_directory_iterator it(cgroup, fs::directory_options::skip_permission_denied, error);
  size_t seen = 0;
  while (!error && it != fs::recursive_directory_iterator()) {
    std::error_code gone;
    if (it->is_directory(gone) && !gone) {
      if (++seen > kMostCgroups) {
        ++programs.unread;
        return;
      }
      const absl::Status status =
          Query(it->path().string(), CgroupRelation::kBelow, own, programs.attached);
      // Cgroups come and go while one looks.
      if (!status.ok() && !absl::IsNotFound(status)) ++programs.unread;
    }
    it.increment(error);
  }
  if (error && error != std::errc::no_such_file_or_directory) ++programs.unread;
}

}  // namespace

absl::StatusOr<CgroupPrograms> ReadCgroupPrograms(const std::string& cgroup,
                                                  const std::vector<uint32_t>& own,
                                                  bool with_those_below) {
  std::error_code error;
  const fs::path path = fs::canonical(cgroup, error);
  if (error) return base::ErrnoStatus(error.value(), absl::StrCat("resolve ", cgroup));
  std::vector<std::string> above;  // the nearest first
  for (fs::path parent = path.parent_path(); IsCgroup2(parent.string());
       parent = parent.parent_path()) {
    above.push_back(parent.string());
    if (parent == parent.parent_path()) break;
  }
  CgroupPrograms programs;
  std::reverse(above.begin(), above.end());
  for (const std::string& ancestor : above) {
    NPG_RETURN_IF_ERROR(Query(ancestor, CgroupRelation::kAbove, own, programs.attached));
  }
  NPG_RETURN_IF_ERROR(Query(path.string(), CgroupRelation::kSame, own, programs.attached));
  if (with_those_below) QueryBelow(path.string(), own, programs);
  return programs;
}

}  // namespace npg::node
