// SPDX-License-Identifier: Apache-2.0
#include "bench/process_usage.h"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace npg::bench {

namespace {

// The content of the schedstat file of a task.
struct Schedule {
  double ran = 0;
  double waited = 0;
};

absl::StatusOr<Schedule> Read(const std::filesystem::path& path) {
  std::ifstream file(path);
  uint64_t ran = 0, waited = 0;
  if (!(file >> ran >> waited)) {
    return absl::NotFoundError(absl::StrCat("read ", path.string(), ": no such task"));
  }
  return Schedule{static_cast<double>(ran) / 1e9, static_cast<double>(waited) / 1e9};
}

absl::StatusOr<Schedule> ReadAll(pid_t pid) {
  const std::string tasks = absl::StrCat("/proc/", pid, "/task");
  Schedule sum;
  bool any = false;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator(tasks, error)) {
    const absl::StatusOr<Schedule> one = Read(task.path() / "schedstat");
    if (!one.ok()) continue;  // it has just ended
    sum.ran += one->ran;
    sum.waited += one->waited;
    any = true;
  }
  if (!any) return absl::NotFoundError(absl::StrCat("read ", tasks, "/*/schedstat: no process"));
  return sum;
}

}  // namespace

absl::StatusOr<double> CpuSeconds(pid_t pid) {
  const absl::StatusOr<Schedule> schedule = ReadAll(pid);
  if (!schedule.ok()) return schedule.status();
  return schedule->ran;
}

absl::StatusOr<Waits> WaitsSoFar(pid_t pid) {
  const absl::StatusOr<Schedule> process = ReadAll(pid);
  if (!process.ok()) return process.status();
  const absl::StatusOr<Schedule> thread = Read("/proc/thread-self/schedstat");
  if (!thread.ok()) return thread.status();
  return Waits{process->waited, thread->waited};
}

absl::StatusOr<double> CpuSecondsOfChildren(pid_t pid) {
  const std::string path = absl::StrCat("/proc/", pid, "/stat");
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  // Behind the name, which may contain blanks, fields 3 and following: proc(5).
  constexpr size_t kUserTime = 13, kSystemTime = 14;
  const std::vector<std::string> fields =
      absl::StrSplit(line.substr(std::min(line.rfind(')') + 2, line.size())), ' ');
  int64_t user = 0, system = 0;
  if (fields.size() <= kSystemTime || !absl::SimpleAtoi(fields[kUserTime], &user) ||
      !absl::SimpleAtoi(fields[kSystemTime], &system)) {
    return absl::NotFoundError(absl::StrCat("read ", path, ": no such process"));
  }
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code error;
  const std::string tasks = absl::StrCat("/proc/", pid, "/task");
  for (const auto& task : std::filesystem::directory_iterator(tasks, error)) {
    std::ifstream file(task.path() / "children");
    for (pid_t child = 0; file >> child;) children.push_back(child);
  }
  return children;
}

absl::StatusOr<Memory> MemoryOf(pid_t pid) {
  const std::string path = absl::StrCat("/proc/", pid, "/status");
  std::ifstream file(path);
  Memory memory;
  std::string name;
  while (file >> name) {
    double kib = 0;
    if (name == "VmHWM:" && file >> kib) memory.peak = kib / 1024;
    if (name == "VmRSS:" && file >> kib) memory.now = kib / 1024;
    if (name == "RssAnon:" && file >> kib) memory.anonymous = kib / 1024;
    if (name == "RssFile:" && file >> kib) memory.file = kib / 1024;
  }
  if (memory.now == 0) return absl::NotFoundError(absl::StrCat("read ", path, ": no VmRSS"));
  return memory;
}

absl::StatusOr<double> ProportionalMemory(pid_t pid) {
  const std::string path = absl::StrCat("/proc/", pid, "/smaps_rollup");
  std::ifstream file(path);
  std::string name;
  while (file >> name) {
    double kib = 0;
    if (name == "Pss:" && file >> kib) return kib / 1024;
  }
  return absl::NotFoundError(absl::StrCat("read ", path, ": no Pss"));
}

double PeakWithChildren(pid_t pid) {
  const absl::StatusOr<Memory> own = MemoryOf(pid);
  double peak = own.ok() ? own->peak : 0;
  for (const pid_t child : ChildrenOf(pid)) {
    const absl::StatusOr<Memory> memory = MemoryOf(child);
    if (memory.ok()) peak += memory->peak;
  }
  return peak;
}

}  // namespace npg::bench
