// SPDX-License-Identifier: Apache-2.0
#include "bench/scan_bench.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "bench/crowd.h"
#include "bench/figure.h"
#include "bench/measure.h"
#include "nlohmann/json.hpp"
#include "testing/command.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::bench {
namespace {

using ::npg::testing::TestNode;
using ::npg::testing::Transport;

constexpr size_t kProcesses = 2000;
constexpr size_t kSockets = kProcesses * Crowd::kSocketsEach;
// Below the ports that the kernel picks.
constexpr uint16_t kFirstListenerPort = 30000;
constexpr uint16_t kKnownNodePorts = 50;
constexpr uint16_t kConflicts = 5;
constexpr int kScans = 50;
constexpr double kScanGoalMs = 100;
constexpr int kConflictsFound = 3;  // the exit code for them

double Milliseconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
}

// Of the children that were waited for.
absl::StatusOr<double> ChildCpu() {
  rusage usage{};
  if (getrusage(RUSAGE_CHILDREN, &usage) != 0) return base::ErrnoStatus(errno, "getrusage");
  return Milliseconds(usage.ru_utime) + Milliseconds(usage.ru_stime);
}

// Checks that a scan found all conflicts.
absl::Status Check(const testing::CommandResult& result) {
  const auto json = nlohmann::json::parse(result.out, nullptr, /*allow_exceptions=*/false);
  if (result.exit_code != kConflictsFound || json.is_discarded()) {
    return absl::InternalError(absl::StrCat("exit code ", result.exit_code, ": ", result.err));
  }
  size_t owned = 0;
  for (const auto& conflict : json["conflicts"]) owned += conflict["owner"]["pid"].is_number();
  if (owned != kConflicts || json["listeners"].get<size_t>() < kSockets) {
    return absl::InternalError(absl::StrCat("scan found ", owned, " owners of conflicts among ",
                                            json["listeners"].get<size_t>(), " listeners"));
  }
  return absl::OkStatus();
}

struct Times {
  std::vector<double> wall, cpu, walk;  // milliseconds
};

// From before fork() until it has ended.
absl::Status TimeScan(const std::vector<std::string>& command, Times& times) {
  const absl::StatusOr<double> before = ChildCpu();
  if (!before.ok()) return before.status();
  const absl::Time start = absl::Now();
  auto child = testing::ChildProcess::Start(command);
  if (!child.ok()) return child.status();
  // Wait() polls; this call wakes at once, and leaves the child to be reaped.
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(child->pid()), &info, WEXITED | WNOWAIT) != 0) {
    if (errno != EINTR) return base::ErrnoStatus(errno, "waitid");
  }
  const absl::Duration wall = absl::Now() - start;
  const auto result = child->Wait();
  if (!result.ok()) return result.status();
  NPG_RETURN_IF_ERROR(Check(*result));
  const absl::StatusOr<double> after = ChildCpu();
  if (!after.ok()) return after.status();
  times.wall.push_back(absl::ToDoubleMilliseconds(wall));
  times.cpu.push_back(*after - *before);
  return absl::OkStatus();
}

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};
using DirPtr = std::unique_ptr<DIR, CloseDir>;

// The minimum of work to find the holder of a socket: reads every link in every
// /proc/PID/fd, and ignores the results.
absl::Status TimeWalk(Times& times) {
  const absl::Time start = absl::Now();
  const DirPtr proc(opendir("/proc"));
  if (!proc) return base::ErrnoStatus(errno, "open /proc");
  size_t links = 0;
  // NOLINTBEGIN(concurrency-mt-unsafe): our own streams
  while (const dirent* process = readdir(proc.get())) {
    const std::string pid = static_cast<const char*>(process->d_name);
    if (!absl::ascii_isdigit(static_cast<unsigned char>(pid.front()))) continue;
    const DirPtr fds(opendir(absl::StrCat("/proc/", pid, "/fd").c_str()));
    if (!fds) continue;  // it has just ended
    while (const dirent* fd = readdir(fds.get())) {
      std::array<char, 64> target{};
      if (readlinkat(dirfd(fds.get()), static_cast<const char*>(fd->d_name), target.data(),
                     target.size()) > 0) {
        ++links;
      }
    }
  }
  // NOLINTEND(concurrency-mt-unsafe)
  times.walk.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
  if (links < kSockets) return absl::InternalError(absl::StrCat("only ", links, " links in /proc"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Figure>> ScanFigures(absl::FunctionRef<bool()> stop) {
  const auto node = TestNode::Create();
  if (!node.ok()) return node.status();
  std::vector<testing::NodePort> nodeports;
  std::vector<uint16_t> conflicts;
  for (uint16_t i = 0; i < kKnownNodePorts; ++i) {
    const auto port = static_cast<uint16_t>(kFirstListenerPort + i);
    nodeports.push_back({port, Transport::kTcp});
    if (i < kConflicts) conflicts.push_back(port);
  }
  const std::string file = (*node)->File("nodeports.json");
  NPG_RETURN_IF_ERROR(testing::WriteNodePortsFile(file, nodeports));
  const auto crowd = Crowd::Gather(kProcesses, conflicts, stop);
  if (!crowd.ok()) return crowd.status();

  const std::vector<std::string> command = testing::GuardCommand(
      **node, {"scan", "--source", "file", "--nodeports-file", file, "-o", "json"});
  Times times;
  for (int round = 0; round < kScans; ++round) {
    if (stop()) return absl::CancelledError("interrupted");
    NPG_RETURN_IF_ERROR(TimeScan(command, times));
    NPG_RETURN_IF_ERROR(TimeWalk(times));
  }
  const std::string group =
      absl::StrCat("scan of ", kSockets, " sockets, ", kProcesses, " processes");
  const double best = Quantile(times.wall, 0);
  const double walk = Quantile(times.walk, 0);
  return std::vector<Figure>{
      {group, "wall time, best", "ms", best, kScanGoalMs},
      {group, "wall time, p50", "ms", Quantile(times.wall, 0.5), kScanGoalMs},
      {group, "wall time, p99", "ms", Quantile(times.wall, 0.99), kScanGoalMs},
      {group, "processor time, p50", "ms", Quantile(times.cpu, 0.5)},
      {group, "reading /proc/*/fd alone, best", "ms", walk},
      {group, "reading /proc/*/fd alone, p50", "ms", Quantile(times.walk, 0.5)},
      {group, "wall time to that, best", "ratio", best / walk},
  };
}

}  // namespace npg::bench
