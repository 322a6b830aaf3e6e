// SPDX-License-Identifier: Apache-2.0
#include "bench/auto_bench.h"

#include <sys/types.h>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "bench/cluster.h"
#include "bench/figure.h"
#include "bench/measure.h"
#include "bench/process_usage.h"
#include "testing/api_kubeconfig.h"
#include "testing/command.h"
#include "testing/guard_process.h"
#include "testing/test_node.h"

namespace npg::bench {
namespace {

using ::npg::testing::ChildProcess;
using ::npg::testing::RunCommand;
using ::npg::testing::TestNode;

// Below the ephemeral ports, of which the API server has one.
constexpr uint16_t kFirstPort = 10000;
constexpr uint16_t kServices = 10000;
constexpr uint16_t kNewPort = kFirstPort + kServices;
constexpr size_t kEvents = 500;
constexpr absl::Duration kDeadline = absl::Seconds(60);
constexpr absl::Duration kPause = absl::Milliseconds(20);  // until an event has been finished with
// Long enough for the slow work that the guard does every ten seconds.
constexpr absl::Duration kSettled = absl::Seconds(25);

constexpr double kRestGoal = 9;       // MiB
constexpr double kPeakGoal = 24;      // MiB, of the guard and its children
constexpr double kLatencyGoal = 0.3;  // ms

struct Rules {
  std::string name;
  std::vector<std::string> load;
  std::string text;
  std::vector<std::string> unload;
};

class AutoBench {
 public:
  AutoBench(const TestNode& node, Cluster& cluster, std::string group,
            absl::FunctionRef<bool()> stop)
      : node_(node), cluster_(cluster), group_(std::move(group)), stop_(stop) {}

  absl::StatusOr<std::vector<Figure>> Run();

 private:
  void Add(absl::string_view what, absl::string_view unit, double value,
           std::optional<double> goal = std::nullopt) {
    figures_.push_back({group_, std::string(what), std::string(unit), value, goal});
  }
  absl::Status Await(absl::string_view what, absl::FunctionRef<bool()> condition) const;
  absl::Status Pause(const ChildProcess& guard, absl::Duration duration);
  absl::Status MeasureMemory(const ChildProcess& guard);
  absl::Status MeasureEvents(ChildProcess& guard, const NodePortsMap& map);

  const TestNode& node_;
  Cluster& cluster_;
  const std::string group_;
  absl::FunctionRef<bool()> stop_;
  double peak_ = 0;
  std::vector<Figure> figures_;
};

absl::Status AutoBench::Await(absl::string_view what, absl::FunctionRef<bool()> condition) const {
  const absl::Time end = absl::Now() + kDeadline;
  while (!condition()) {
    if (stop_()) return absl::CancelledError("interrupted");
    if (absl::Now() > end) return absl::DeadlineExceededError(absl::StrCat("no ", what));
    std::this_thread::yield();
  }
  return absl::OkStatus();
}

absl::Status AutoBench::Pause(const ChildProcess& guard, absl::Duration duration) {
  const absl::Time end = absl::Now() + duration;
  return Await("end of a pause", [&] {
    peak_ = std::max(peak_, PeakWithChildren(guard.pid()));
    absl::SleepFor(absl::Milliseconds(2));
    return absl::Now() >= end;
  });
}

absl::Status AutoBench::MeasureMemory(const ChildProcess& guard) {
  const absl::StatusOr<Memory> memory = MemoryOf(guard.pid());
  if (!memory.ok()) return memory.status();
  const absl::StatusOr<double> proportional = ProportionalMemory(guard.pid());
  if (!proportional.ok()) return proportional.status();
  Add("peak resident, with commands", "MiB", peak_, kPeakGoal);
  Add(absl::StrCat("resident after ", absl::ToInt64Seconds(kSettled), " s"), "MiB", memory->now,
      kRestGoal);
  Add("of it the process's own", "MiB", memory->anonymous);
  Add("of it files", "MiB", memory->file);
  Add("resident, shared pages by their share", "MiB", *proportional);
  return absl::OkStatus();
}

// From the write of the event to its socket to the entry in the map.
absl::Status AutoBench::MeasureEvents(ChildProcess& guard, const NodePortsMap& map) {
  std::vector<double> all, undisturbed, waits, used;
  for (size_t i = 0; i < kEvents; ++i) {
    NPG_RETURN_IF_ERROR(Pause(guard, kPause));
    const auto port = static_cast<uint16_t>(kNewPort + i);
    const auto before = WaitsSoFar(guard.pid());
    if (!before.ok()) return before.status();
    const auto cpu_before = CpuSeconds(guard.pid());
    if (!cpu_before.ok()) return cpu_before.status();
    NPG_RETURN_IF_ERROR(cluster_.Add(port, 1));
    const uint64_t sent = base::BootNanoseconds();
    NPG_RETURN_IF_ERROR(Await("map entry", [&] { return map.HasTcp(port); }));
    const double took = static_cast<double>(base::BootNanoseconds() - sent) / 1e6;
    const auto after = WaitsSoFar(guard.pid());
    if (!after.ok()) return after.status();
    // They may have waited at the same time.
    const double waited =
        1e3 * std::max(after->process - before->process, after->thread - before->thread);
    all.push_back(took);
    waits.push_back(waited);
    undisturbed.push_back(std::max(took - waited, 0.0));
    NPG_RETURN_IF_ERROR(Pause(guard, kPause));
    const auto cpu_after = CpuSeconds(guard.pid());
    if (!cpu_after.ok()) return cpu_after.status();
    used.push_back((*cpu_after - *cpu_before) * 1e3);
  }
  Add("event to map entry, p50", "ms", Quantile(all, 0.5));
  Add("event to map entry, p99", "ms", Quantile(all, 0.99));
  Add("event to map entry less waits for a processor, p50", "ms", Quantile(undisturbed, 0.5));
  Add("event to map entry less waits for a processor, p99", "ms", Quantile(undisturbed, 0.99),
      kLatencyGoal);
  Add("waits for a processor, p50", "ms", Quantile(waits, 0.5));
  Add("CPU of an event, with all that follows, p50", "ms", Quantile(used, 0.5));
  for (size_t i = 0; i < kEvents; ++i) {
    NPG_RETURN_IF_ERROR(cluster_.Remove(static_cast<uint16_t>(kNewPort + i)));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Figure>> AutoBench::Run() {
  absl::StatusOr<ChildProcess> guard = ChildProcess::Start(testing::GuardCommand(
      node_,
      {"run", "--source", "auto", "--kubeconfig", node_.File("kubeconfig"), "--detach-on-exit"}));
  if (!guard.ok()) return guard.status();
  NPG_RETURN_IF_ERROR(Await("reading of both sources", [&] {
    peak_ = std::max(peak_, PeakWithChildren(guard->pid()));
    return absl::StrContains(guard->Err(), "ready: ") &&
           absl::StrContains(guard->Err(), " Services have ");
  }));
  absl::StatusOr<NodePortsMap> map = NodePortsMap::Open(node_.bpffs());
  if (!map.ok()) return map.status();
  NPG_RETURN_IF_ERROR(Await("NodePorts in the map", [&] { return map->Size() == kServices; }));
  NPG_RETURN_IF_ERROR(Pause(*guard, kSettled));
  NPG_RETURN_IF_ERROR(MeasureMemory(*guard));
  NPG_RETURN_IF_ERROR(MeasureEvents(*guard, *map));
  guard->Signal(SIGTERM);
  NPG_RETURN_IF_ERROR(guard->Wait().status());
  return figures_;
}

}  // namespace

absl::StatusOr<std::vector<Figure>> AutoFigures(absl::FunctionRef<bool()> stop) {
  // The thread of the server must be on the node, too.
  const auto node = TestNode::Create();
  if (!node.ok()) return node.status();
  absl::StatusOr<Cluster> cluster = Cluster::Start();
  if (!cluster.ok()) return cluster.status();
  NPG_RETURN_IF_ERROR(testing::WriteKubeconfig(cluster->server(), (*node)->File("kubeconfig")));
  NPG_RETURN_IF_ERROR(cluster->Add(kFirstPort, kServices));
  const std::vector<Rules> all = {{"iptables mode",
                                   {"iptables-nft-restore", "--wait", "30"},
                                   IptablesRules(kFirstPort, kServices),
                                   {"nft", "delete", "table", "ip", "nat"}},
                                  {"nftables mode",
                                   {"nft", "-f", "-"},
                                   NftablesRules(kFirstPort, kServices),
                                   {"nft", "delete", "table", "ip", "kube-proxy"}}};
  std::vector<Figure> figures;
  for (const Rules& rules : all) {
    NPG_RETURN_IF_ERROR(RunCommand(rules.load, rules.text).status());
    AutoBench bench(**node, *cluster,
                    absl::StrCat(kServices, " Services, kube-proxy in ", rules.name), stop);
    const absl::StatusOr<std::vector<Figure>> found = bench.Run();
    if (!found.ok()) return found.status();
    figures.insert(figures.end(), found->begin(), found->end());
    NPG_RETURN_IF_ERROR(RunCommand(rules.unload).status());
  }
  return figures;
}

}  // namespace npg::bench
