// SPDX-License-Identifier: Apache-2.0
#include "testing/test_cgroup.h"

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"

namespace npg::testing {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kPrefix = "npg-test-";

absl::StatusOr<std::string> Cgroup2Root() {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const std::pair<std::string, std::string> halves =
        absl::StrSplit(line, absl::MaxSplits(" - ", 1));
    const std::vector<std::string> fields = absl::StrSplit(halves.first, ' ');
    if (halves.second.rfind("cgroup2 ", 0) == 0 && fields.size() > 4) return fields[4];
  }
  return absl::NotFoundError("no cgroup2 in /proc/self/mountinfo: mount one");
}

absl::StatusOr<std::string> CurrentGroup(const std::string& root) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    absl::string_view path = line;
    if (absl::ConsumePrefix(&path, "0::")) return absl::StrCat(root, path);
  }
  return absl::NotFoundError("no cgroup2 line in /proc/self/cgroup");
}

// Innermost first: a group with children cannot be removed.
void RemoveTree(const fs::path& group) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(group, error)) {
    if (entry.is_directory(error)) RemoveTree(entry.path());
  }
  rmdir(group.c_str());
}

// The groups whose maker has ended. If its pid is in use again, the group stays until
// the next run.
void RemoveLeftovers(const std::string& root) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    const std::string name = entry.path().filename();
    absl::string_view rest = name;
    if (!absl::ConsumePrefix(&rest, kPrefix)) continue;
    const std::vector<absl::string_view> parts = absl::StrSplit(rest, '-');
    pid_t pid = 0;
    if (!absl::SimpleAtoi(parts[0], &pid) || kill(pid, 0) == 0 || errno != ESRCH) continue;
    RemoveTree(entry.path());
  }
}

}  // namespace

absl::Status TestCgroup::Enter(const std::string& path) {
  std::ofstream procs(path + "/cgroup.procs");
  procs << "0" << std::flush;
  if (!procs) return base::ErrnoStatus(errno, absl::StrCat("move into ", path));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TestCgroup>> TestCgroup::Create() {
  static std::atomic<int> serial = 0;
  const auto root = Cgroup2Root();
  if (!root.ok()) return root.status();
  auto home = CurrentGroup(*root);
  if (!home.ok()) return home.status();
  RemoveLeftovers(*root);
  const std::string path = absl::StrCat(*root, "/", kPrefix, getpid(), "-", serial++);
  std::error_code error;
  if (!fs::create_directory(path, error) && error) {
    return base::ErrnoStatus(error.value(), absl::StrCat("create ", path));
  }
  std::unique_ptr<TestCgroup> group(new TestCgroup(path, *std::move(home)));
  NPG_RETURN_IF_ERROR(Enter(path));
  return group;
}

TestCgroup::~TestCgroup() {
  if (const absl::Status back = Enter(home_); !back.ok()) {
    std::fprintf(stderr, "%s\n", back.ToString().c_str());
  }
  RemoveTree(path_);
}

absl::StatusOr<std::string> TestCgroup::MakeChild(const std::string& name) const {
  std::string child = absl::StrCat(path_, "/", name);
  std::error_code error;
  if (!fs::create_directory(child, error) && error) {
    return base::ErrnoStatus(error.value(), absl::StrCat("create ", child));
  }
  return child;
}

}  // namespace npg::testing
