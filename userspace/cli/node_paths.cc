// SPDX-License-Identifier: Apache-2.0
#include "cli/node_paths.h"

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "cli/args/options.h"
#include "cli/exit_code.h"
#include "node/cgroups.h"

namespace npg::cli {
namespace {

constexpr absl::string_view kOnlyAPart =
    "begins below the root of the cgroups, as in a container whose cgroup namespace is its own: "
    "attached there, the guard would see that container alone. Mount the node's: in a pod, "
    "hostPath /sys/fs/cgroup at /sys/fs/cgroup; for others, bind mount it";

std::string ErrnoText() { return std::generic_category().message(errno); }

bool IsOn(const std::string& path, uint64_t magic) {
  struct statfs info {};
  return statfs(path.c_str(), &info) == 0 && static_cast<uint64_t>(info.f_type) == magic;
}

// Empty when it cannot be read.
std::string ReadText(const std::string& path) {
  constexpr size_t kMaxText = size_t{16} << 20;
  return base::ReadSmallFile(path, kMaxText).value_or("");
}

// The cgroup2 line of /proc/PID/cgroup: "0::/path".
std::string UnifiedCgroup(const std::string& path) {
  for (const absl::string_view line : absl::StrSplit(ReadText(path), '\n')) {
    absl::string_view cgroup = line;
    if (absl::ConsumePrefix(&cgroup, "0::")) return std::string(cgroup);
  }
  return "";
}

// Whether this mount has the cgroups of the whole node. A node may itself be a container,
// so this is a heuristic: a container's own mount begins at the root of its cgroup
// namespace, and this process is in that very cgroup; a node's services are in cgroups below.
bool IsOfNode(const Cgroup2Mount& mount, const std::string& proc) {
  if (node::IsHierarchyRoot(mount.path)) return true;
  if (mount.root == "/" && UnifiedCgroup(proc + "/self/cgroup") == "/") return false;
  return IsBelowCgroup(UnifiedCgroup(proc + "/1/cgroup"), mount.root);
}

// mountinfo writes blanks and backslashes as \ooo.
std::string Unescape(absl::string_view field) {
  std::string result;
  for (size_t i = 0; i < field.size(); ++i) {
    const absl::string_view digits = field.substr(i + 1, 3);
    if (field[i] == '\\' && digits.size() == 3 &&
        digits.find_first_not_of("01234567") == absl::string_view::npos) {
      result += static_cast<char>((digits[0] - '0') * 64 + (digits[1] - '0') * 8 + digits[2] - '0');
      i += 3;
    } else {
      result += field[i];
    }
  }
  return result;
}

}  // namespace

std::vector<Cgroup2Mount> ParseCgroup2Mounts(absl::string_view mountinfo) {
  std::vector<Cgroup2Mount> mounts;
  for (const absl::string_view line : absl::StrSplit(mountinfo, '\n')) {
    // ID parent major:minor root mountpoint options [optional...] - fstype source super
    const std::vector<absl::string_view> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    if (halves.size() != 2) continue;
    const std::vector<absl::string_view> mount = absl::StrSplit(halves[0], ' ');
    const std::vector<absl::string_view> type = absl::StrSplit(halves[1], ' ');
    if (mount.size() < 6 || type[0] != "cgroup2") continue;
    mounts.push_back({Unescape(mount[4]), Unescape(mount[3])});
  }
  return mounts;
}

bool IsBelowCgroup(absl::string_view cgroup, absl::string_view root) {
  if (cgroup.empty() || root.empty()) return false;
  const std::vector<absl::string_view> path = absl::StrSplit(cgroup, '/', absl::SkipEmpty());
  const std::vector<absl::string_view> above = absl::StrSplit(root, '/', absl::SkipEmpty());
  // Skip the ".." that both have, or that only the root has, which is then above the path.
  size_t at = 0;
  while (at < above.size() && at < path.size() && above[at] == ".." && path[at] == "..") ++at;
  if (at < path.size() && path[at] == "..") return false;  // the path is further up
  size_t more = at;
  while (more < above.size() && above[more] == "..") ++more;
  if (more > at) return more == above.size();
  return path.size() >= above.size() && std::equal(above.begin(), above.end(), path.begin());
}

absl::StatusOr<std::string> FindCgroup2Root(const std::string& proc) {
  const std::string mountinfo = proc + "/self/mountinfo";
  const std::vector<Cgroup2Mount> mounts = ParseCgroup2Mounts(ReadText(mountinfo));
  if (mounts.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("no cgroup2 file system is mounted (", mountinfo,
                     "); mount one: mkdir -p /run/cgroup2 && mount -t cgroup2 none /run/cgroup2"));
  }
  std::vector<std::string> parts;
  std::string found;
  for (const Cgroup2Mount& mount : mounts) {
    // A mount may be hidden below a later one.
    if (!IsOn(mount.path, CGROUP2_SUPER_MAGIC)) continue;
    if (node::IsHierarchyRoot(mount.path)) return mount.path;
    if (found.empty() && IsOfNode(mount, proc)) found = mount.path;
    parts.push_back(mount.path);
  }
  if (!found.empty()) return found;
  return absl::FailedPreconditionError(
      absl::StrCat("the cgroup2 file system on ", absl::StrJoin(parts, ", "), " ", kOnlyAPart));
}

absl::Status CheckCgroup(const std::string& path, const std::string& proc) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    return UsageError(absl::StrCat("--cgroup ", path, ": ", ErrnoText()));
  }
  if (!S_ISDIR(info.st_mode)) {
    return UsageError(absl::StrCat("--cgroup ", path, ": is not a folder"));
  }
  if (!IsOn(path, CGROUP2_SUPER_MAGIC)) {
    return UsageError(absl::StrCat("--cgroup ", path, ": is not on a cgroup2 file system"));
  }
  // A folder below a mount is a deliberate choice; a mount itself stands for the whole node.
  for (const Cgroup2Mount& mount : ParseCgroup2Mounts(ReadText(proc + "/self/mountinfo"))) {
    if (mount.path == path && !IsOfNode(mount, proc)) {
      return absl::FailedPreconditionError(absl::StrCat("--cgroup ", path, ": ", kOnlyAPart));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBpffs(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("--bpffs ", path, ": ", ErrnoText(),
                                                      "; make it: mkdir -p ", path,
                                                      " && mount -t bpf bpf ", path));
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("--bpffs ", path, ": is not a folder"));
  }
  if (!IsOn(path, BPF_FS_MAGIC)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "--bpffs ", path, ": is not on a bpf file system; mount one: mount -t bpf bpf ", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ResolveCgroup(const NodeOptions& options, const std::string& proc) {
  if (options.cgroup.empty()) return FindCgroup2Root(proc);
  if (const absl::Status status = CheckCgroup(options.cgroup, proc); !status.ok()) return status;
  return options.cgroup;
}

}  // namespace npg::cli
