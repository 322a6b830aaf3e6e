// SPDX-License-Identifier: Apache-2.0
#include "bench/kubernetes_bench.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
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
#include "testing/api_fault.h"
#include "testing/api_kubeconfig.h"
#include "testing/api_model.h"
#include "testing/api_request.h"
#include "testing/guard_process.h"
#include "testing/test_node.h"

namespace npg::bench {
namespace {

using ::npg::testing::ApiModel;
using ::npg::testing::GuardProcess;
using ::npg::testing::TestNode;
using ::npg::testing::WatchList;

// All in one block below the ephemeral ports, of which the server has one.
constexpr uint16_t kFirstPort = 10000;
constexpr size_t kServices = 10000;
constexpr uint16_t kLastPort = kFirstPort + kServices - 1;
constexpr uint16_t kNewPort = kLastPort + 1;
constexpr size_t kChanges = 500;
constexpr size_t kRounds = 5;

constexpr absl::Duration kDeadline = absl::Seconds(60);
// Between two changes, so that the guard has finished the last one.
constexpr absl::Duration kPause = absl::Milliseconds(20);
// Long enough for the slow work that the guard does every ten seconds.
constexpr absl::Duration kSettled = absl::Seconds(15);

constexpr const char* kListed = " Services have ";
constexpr const char* kApplied = " guarded in all";

// The start of a guard, until the map had all entries.
struct Start {
  double cpu = 0;  // seconds
  Memory memory;   // MiB, when that reading was done with
  uint64_t bytes = 0;
};

// The delays until the changes reached the map, in milliseconds.
struct Latencies {
  std::vector<double> all;
  // Without the time that the guard or this measuring thread waited for a processor, so
  // that a busy machine does not count.
  std::vector<double> undisturbed;
};

size_t CountOf(absl::string_view text, absl::string_view word) {
  size_t count = 0;
  for (size_t at = text.find(word); at != absl::string_view::npos; at = text.find(word, at + 1)) {
    ++count;
  }
  return count;
}

class KubernetesBench {
 public:
  KubernetesBench(std::unique_ptr<TestNode> node, Cluster cluster, absl::FunctionRef<bool()> stop)
      : node_(std::move(node)), cluster_(std::move(cluster)), stop_(stop) {}

  absl::StatusOr<std::vector<Figure>> Run(absl::Duration idle);

 private:
  absl::Status Await(absl::string_view what, absl::Duration poll,
                     absl::FunctionRef<bool()> condition) const;
  absl::Status Pause(absl::Duration duration) const;
  absl::StatusOr<GuardProcess> StartGuard() const;
  absl::StatusOr<Start> MeasureStart(const GuardProcess& guard, uint64_t bytes_before);
  absl::StatusOr<Start> StartAndStop();
  void SetWatchList(WatchList watch_list);

  absl::Status MeasureLists();
  absl::Status MeasureRest(const GuardProcess& guard);
  absl::Status MeasureIdle(const GuardProcess& guard, absl::Duration idle);
  absl::Status MeasureChanges(const GuardProcess& guard, const NodePortsMap& map);
  absl::Status MeasureChange(const GuardProcess& guard, const NodePortsMap& map, uint16_t port,
                             bool add, Latencies& latencies);
  absl::Status MeasureRelist(const GuardProcess& guard, const NodePortsMap& map);

  void AddLists(const std::vector<Start>& empty, const std::vector<Start>& watch_list,
                const std::vector<Start>& pages);
  void AddLatencies(const std::string& what, const Latencies& latencies);

  std::unique_ptr<TestNode> node_;
  Cluster cluster_;
  absl::FunctionRef<bool()> stop_;
  std::vector<Figure> figures_;
};

absl::Status KubernetesBench::Await(absl::string_view what, absl::Duration poll,
                                    absl::FunctionRef<bool()> condition) const {
  const absl::Time end = absl::Now() + kDeadline;
  while (!condition()) {
    if (stop_()) return absl::CancelledError("interrupted");
    if (absl::Now() > end) return absl::DeadlineExceededError(absl::StrCat("no ", what));
    if (poll > absl::ZeroDuration()) {
      absl::SleepFor(poll);
    } else {
      // The guard may have been woken on this very processor.
      std::this_thread::yield();
    }
  }
  return absl::OkStatus();
}

absl::Status KubernetesBench::Pause(absl::Duration duration) const {
  const absl::Time end = absl::Now() + duration;
  return Await("end of a pause", absl::Milliseconds(10), [end] { return absl::Now() >= end; });
}

absl::StatusOr<GuardProcess> KubernetesBench::StartGuard() const {
  return GuardProcess::Start(*node_, {"--source", "kubernetes", "--kubeconfig",
                                      node_->File("kubeconfig"), "--detach-on-exit"});
}

absl::StatusOr<Start> KubernetesBench::MeasureStart(const GuardProcess& guard,
                                                    uint64_t bytes_before) {
  bool expects_ports = false;
  cluster_.server().Change(
      [&](const ApiModel& model) { expects_ports = !model.Services().empty(); });
  if (expects_ports) {
    absl::StatusOr<NodePortsMap> map = NodePortsMap::Open(node_->bpffs());
    if (!map.ok()) return map.status();
    // The entries are written in order, so the last one completes the map.
    NPG_RETURN_IF_ERROR(Await("NodePorts in the map", absl::Milliseconds(1),
                              [&] { return map->HasTcp(kLastPort); }));
    if (map->Size() != kServices) return absl::InternalError("the map is not filled in order");
  } else {
    NPG_RETURN_IF_ERROR(Await("list", absl::Milliseconds(1),
                              [&] { return absl::StrContains(guard.Log(), kListed); }));
  }
  absl::StatusOr<double> cpu = CpuSeconds(guard.pid());
  if (!cpu.ok()) return cpu.status();
  // A reading without changes is applied without a log line.
  NPG_RETURN_IF_ERROR(Await("reading", absl::Milliseconds(1), [&] {
    return !expects_ports || absl::StrContains(guard.Log(), kApplied);
  }));
  absl::StatusOr<Memory> memory = MemoryOf(guard.pid());
  if (!memory.ok()) return memory.status();
  return Start{*cpu, *memory, cluster_.BytesSent() - bytes_before};
}

absl::StatusOr<Start> KubernetesBench::StartAndStop() {
  const uint64_t bytes_before = cluster_.BytesSent();
  absl::StatusOr<GuardProcess> guard = StartGuard();
  if (!guard.ok()) return guard.status();
  absl::StatusOr<Start> start = MeasureStart(*guard, bytes_before);
  if (!start.ok()) {
    return base::Annotate(start.status(), absl::StrCat("start of ", guard->Log()));
  }
  NPG_RETURN_IF_ERROR(guard->Stop());
  return start;
}

void KubernetesBench::SetWatchList(WatchList watch_list) {
  cluster_.server().Change(
      [watch_list](ApiModel& model) { model.options().watch_list = watch_list; });
}

absl::Status KubernetesBench::MeasureLists() {
  std::vector<Start> empty, watch_list, pages;
  const auto add = [this](std::vector<Start>& to) -> absl::Status {
    absl::StatusOr<Start> start = StartAndStop();
    if (!start.ok()) return start.status();
    to.push_back(*start);
    return absl::OkStatus();
  };
  // One for the page cache.
  NPG_RETURN_IF_ERROR(StartAndStop().status());
  for (size_t round = 0; round < kRounds; ++round) NPG_RETURN_IF_ERROR(add(empty));
  NPG_RETURN_IF_ERROR(cluster_.Add(kFirstPort, kServices));
  for (size_t round = 0; round < kRounds; ++round) {
    SetWatchList(WatchList::kForbidden);
    NPG_RETURN_IF_ERROR(add(pages));
    SetWatchList(WatchList::kOffered);
    NPG_RETURN_IF_ERROR(add(watch_list));
  }
  AddLists(empty, watch_list, pages);
  return absl::OkStatus();
}

void KubernetesBench::AddLists(const std::vector<Start>& empty,
                               const std::vector<Start>& watch_list,
                               const std::vector<Start>& pages) {
  const auto median = [](const std::vector<Start>& starts,
                         const std::function<double(const Start&)>& value) {
    std::vector<double> values;
    for (const Start& start : starts) values.push_back(value(start));
    return Quantile(std::move(values), 0.5);
  };
  const auto cpu = [](const Start& start) { return start.cpu; };
  const auto peak = [](const Start& start) { return start.memory.peak; };
  const std::string group = absl::StrCat("list of ", kServices, " Services");
  const double base_cpu = median(empty, cpu);
  const double watch_list_cpu = median(watch_list, cpu) - base_cpu;
  const double pages_cpu = median(pages, cpu) - base_cpu;
  const double megabytes = static_cast<double>(watch_list.back().bytes) / 1e6;
  figures_.insert(
      figures_.end(),
      {{group, "received", "MB", megabytes},
       {group, "CPU of a start without Services", "s", base_cpu},
       {group, "CPU from list to filled map, WatchList", "s", watch_list_cpu, 0.5},
       {group, "CPU from list to filled map, pages of 500", "s", pages_cpu, 0.5},
       {group, "CPU, WatchList to pages", "ratio", watch_list_cpu / pages_cpu},
       {group, "received per second of CPU, WatchList", "MB/s", megabytes / watch_list_cpu},
       {group, "peak of a start without Services", "MiB", median(empty, peak)},
       {group, "peak resident, WatchList", "MiB", median(watch_list, peak), 24},
       {group, "peak resident, pages of 500", "MiB", median(pages, peak), 24}});
}

absl::Status KubernetesBench::MeasureRest(const GuardProcess& guard) {
  NPG_RETURN_IF_ERROR(Pause(kSettled));
  absl::StatusOr<Memory> memory = MemoryOf(guard.pid());
  if (!memory.ok()) return memory.status();
  const std::string group = absl::StrCat(absl::ToInt64Seconds(kSettled), " s after the list");
  figures_.insert(figures_.end(), {{group, "resident", "MiB", memory->now, 14},
                                   {group, "of it the process's own", "MiB", memory->anonymous},
                                   {group, "of it files", "MiB", memory->file}});
  return absl::OkStatus();
}

absl::Status KubernetesBench::MeasureIdle(const GuardProcess& guard, absl::Duration idle) {
  const absl::StatusOr<double> before = CpuSeconds(guard.pid());
  if (!before.ok()) return before.status();
  NPG_RETURN_IF_ERROR(Pause(idle));
  const absl::StatusOr<double> after = CpuSeconds(guard.pid());
  if (!after.ok()) return after.status();
  figures_.push_back({absl::StrCat("idle for ", absl::FormatDuration(idle)), "CPU", "%",
                      (*after - *before) / absl::ToDoubleSeconds(idle) * 100, 0.1});
  return absl::OkStatus();
}

// From the write of the event to its socket to the entry in the map.
absl::Status KubernetesBench::MeasureChange(const GuardProcess& guard, const NodePortsMap& map,
                                            uint16_t port, bool add, Latencies& latencies) {
  NPG_RETURN_IF_ERROR(Pause(kPause));
  NPG_RETURN_IF_ERROR(add ? cluster_.Add(port, 1) : cluster_.Remove(port));
  const uint64_t sent = base::BootNanoseconds();
  const auto before = WaitsSoFar(guard.pid());
  if (!before.ok()) return before.status();
  NPG_RETURN_IF_ERROR(
      Await("map entry", absl::ZeroDuration(), [&] { return map.HasTcp(port) == add; }));
  const double took = static_cast<double>(base::BootNanoseconds() - sent) / 1e6;
  const auto after = WaitsSoFar(guard.pid());
  if (!after.ok()) return after.status();
  // They may have waited at the same time.
  const double waited =
      1e3 * std::max(after->process - before->process, after->thread - before->thread);
  latencies.all.push_back(took);
  latencies.undisturbed.push_back(std::max(took - waited, 0.0));
  return absl::OkStatus();
}

absl::Status KubernetesBench::MeasureChanges(const GuardProcess& guard, const NodePortsMap& map) {
  const absl::StatusOr<double> before = CpuSeconds(guard.pid());
  if (!before.ok()) return before.status();
  Latencies added, removed;
  for (size_t i = 0; i < kChanges; ++i) {
    for (auto* const to : {&added, &removed}) {
      const auto port = static_cast<uint16_t>(kNewPort + i);
      NPG_RETURN_IF_ERROR(MeasureChange(guard, map, port, to == &added, *to));
    }
  }
  const absl::StatusOr<double> after = CpuSeconds(guard.pid());
  if (!after.ok()) return after.status();
  AddLatencies("created", added);
  AddLatencies("deleted", removed);
  figures_.push_back({"event to map entry", "CPU of a change, with all that follows", "ms",
                      (*after - *before) * 1e3 / (2 * kChanges)});
  return absl::OkStatus();
}

void KubernetesBench::AddLatencies(const std::string& what, const Latencies& latencies) {
  const std::string group = "event to map entry";
  const auto undisturbed = absl::StrCat(what, ", p99 less waits for a processor");
  figures_.insert(figures_.end(),
                  {{group, absl::StrCat(what, ", p50"), "ms", Quantile(latencies.all, 0.5)},
                   {group, absl::StrCat(what, ", p99"), "ms", Quantile(latencies.all, 0.99), 2},
                   {group, undisturbed, "ms", Quantile(latencies.undisturbed, 0.99)},
                   {group, absl::StrCat(what, ", longest"), "ms", Quantile(latencies.all, 1)}});
}

// Empties the map without the guard, so that a list has written all entries that are in it
// afterwards.
absl::Status KubernetesBench::MeasureRelist(const GuardProcess& guard, const NodePortsMap& map) {
  NPG_RETURN_IF_ERROR(Pause(kPause));
  NPG_RETURN_IF_ERROR(map.Clear());
  const absl::StatusOr<double> before = CpuSeconds(guard.pid());
  if (!before.ok()) return before.status();
  const std::string log = guard.Log();
  cluster_.server().Inject(
      {.on = testing::RequestKind::kWatch, .answer = testing::FaultAnswer(410)});
  cluster_.server().CloseWatches();
  NPG_RETURN_IF_ERROR(Await("second list", absl::Milliseconds(5),
                            [&] { return CountOf(guard.Log(), kListed) > CountOf(log, kListed); }));
  // The guard logs a list when it hands it on, but does not log that it changed nothing.
  NPG_RETURN_IF_ERROR(Pause(10 * kPause));
  const absl::StatusOr<double> after = CpuSeconds(guard.pid());
  if (!after.ok()) return after.status();
  const std::string group = "list anew, nothing changed";
  figures_.insert(figures_.end(),
                  {{group, "writes to nodeports", "", static_cast<double>(map.Size()), 0},
                   {group, "CPU", "s", *after - *before}});
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Figure>> KubernetesBench::Run(absl::Duration idle) {
  NPG_RETURN_IF_ERROR(testing::WriteKubeconfig(cluster_.server(), node_->File("kubeconfig")));
  NPG_RETURN_IF_ERROR(MeasureLists());
  cluster_.server().SetBookmarkPeriod(absl::Minutes(1));
  absl::StatusOr<GuardProcess> guard = StartGuard();
  if (!guard.ok()) return guard.status();
  NPG_RETURN_IF_ERROR(MeasureStart(*guard, 0).status());
  absl::StatusOr<NodePortsMap> map = NodePortsMap::Open(node_->bpffs());
  if (!map.ok()) return map.status();
  NPG_RETURN_IF_ERROR(MeasureRest(*guard));
  NPG_RETURN_IF_ERROR(MeasureIdle(*guard, idle));
  NPG_RETURN_IF_ERROR(MeasureChanges(*guard, *map));
  NPG_RETURN_IF_ERROR(MeasureRelist(*guard, *map));
  NPG_RETURN_IF_ERROR(guard->Stop());
  return figures_;
}

}  // namespace

absl::StatusOr<std::vector<Figure>> KubernetesFigures(absl::Duration idle,
                                                      absl::FunctionRef<bool()> stop) {
  // The thread of the server must be on the node, too.
  auto node = TestNode::Create();
  if (!node.ok()) return node.status();
  absl::StatusOr<Cluster> cluster = Cluster::Start();
  if (!cluster.ok()) return cluster.status();
  return KubernetesBench(*std::move(node), *std::move(cluster), stop).Run(idle);
}

}  // namespace npg::bench
