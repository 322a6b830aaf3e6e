// SPDX-License-Identifier: Apache-2.0

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/errno_status.h"
#include "bench/cluster.h"
#include "bench/growth.h"
#include "bench/growth_bench.h"
#include "bench/process_usage.h"
#include "testing/api_kubeconfig.h"
#include "testing/api_model.h"
#include "testing/guard_process.h"
#include "testing/test_node.h"

namespace npg::bench {
namespace {

using ::npg::testing::ApiModel;
using ::npg::testing::GuardProcess;
using ::npg::testing::TestNode;

constexpr std::array<size_t, 5> kServices = {100, 1000, 10000, 30000, 60000};
constexpr std::array<size_t, 4> kBursts = {10, 100, 1000, 10000};
// What the kernel picks, the API server's port and those of the self-probe, is below the NodePorts.
constexpr const char* kPickedPorts = "1024 5000";
constexpr uint16_t kFirstPort = 5501;
constexpr uint16_t kFirstBurstPort = kFirstPort + kServices.front();
// Behind the last of 60,000.
constexpr uint16_t kFirstChangedPort = kFirstPort + kServices.back();
constexpr uint16_t kChangedPorts = 10;

constexpr size_t kMinRepeats = 5, kMaxRepeats = 15;
constexpr absl::Duration kDeadline = absl::Seconds(60);
// After the first list, so that the guard has finished what follows from it.
constexpr absl::Duration kSettled = absl::Seconds(2);
// Between two changes, so that the guard has finished the last one.
constexpr absl::Duration kPause = absl::Milliseconds(20);
constexpr absl::Duration kPoll = absl::Microseconds(100);

std::string NameOf(uint16_t port) { return absl::StrCat("load-", port); }
std::string PortOf(uint16_t port) { return absl::StrCat("\"nodePort\":", port); }

// One start of a guard.
struct Sample {
  double list_cpu = 0;    // seconds, until the map has all NodePorts
  double change_cpu = 0;  // milliseconds for each change
  Memory memory;          // MiB, after the first list
};

class ControllerBench {
 public:
  ControllerBench(std::unique_ptr<TestNode> node, Cluster cluster, absl::FunctionRef<bool()> stop)
      : node_(std::move(node)), cluster_(std::move(cluster)), stop_(stop) {}

  absl::StatusOr<std::vector<Growth>> Run(absl::Duration time);

 private:
  absl::Status Await(absl::string_view what, absl::FunctionRef<bool()> condition) const;
  absl::Status Pause(absl::Duration duration) const;
  absl::Status AwaitAll(const NodePortsMap& map, uint16_t last, size_t size) const;
  absl::StatusOr<GuardProcess> StartGuard() const;

  absl::StatusOr<Sample> MeasureStart(size_t services);
  absl::StatusOr<double> MeasureChanges(const GuardProcess& guard, const NodePortsMap& map);
  absl::StatusOr<std::vector<Sample>> MeasureStarts(size_t services, absl::Duration time);
  absl::StatusOr<double> MeasureBurst(const NodePortsMap& map, size_t count);
  absl::StatusOr<Growth> MeasureBursts(absl::Duration time);

  std::unique_ptr<TestNode> node_;
  Cluster cluster_;
  absl::FunctionRef<bool()> stop_;
  size_t services_ = 0;  // in the cluster, from kFirstPort on
};

absl::Status ControllerBench::Await(absl::string_view what,
                                    absl::FunctionRef<bool()> condition) const {
  const absl::Time end = absl::Now() + kDeadline;
  while (!condition()) {
    if (stop_()) return absl::CancelledError("interrupted");
    if (absl::Now() > end) return absl::DeadlineExceededError(absl::StrCat("no ", what));
    absl::SleepFor(kPoll);
  }
  return absl::OkStatus();
}

absl::Status ControllerBench::Pause(absl::Duration duration) const {
  const absl::Time end = absl::Now() + duration;
  return Await("end of a pause", [end] { return absl::Now() >= end; });
}

// To count the entries takes long, so waits for the last one first.
absl::Status ControllerBench::AwaitAll(const NodePortsMap& map, uint16_t last, size_t size) const {
  NPG_RETURN_IF_ERROR(
      Await(absl::StrCat("NodePort ", last, " in the map"), [&] { return map.HasTcp(last); }));
  return Await(absl::StrCat("map of ", size, " NodePorts"), [&] { return map.Size() == size; });
}

absl::StatusOr<GuardProcess> ControllerBench::StartGuard() const {
  return GuardProcess::Start(*node_, {"--source", "kubernetes", "--kubeconfig",
                                      node_->File("kubeconfig"), "--detach-on-exit"});
}

// The processor time of a change, with what the guard does anyway in this time.
absl::StatusOr<double> ControllerBench::MeasureChanges(const GuardProcess& guard,
                                                       const NodePortsMap& map) {
  const absl::StatusOr<double> before = CpuSeconds(guard.pid());
  if (!before.ok()) return before.status();
  for (uint16_t i = 0; i < kChangedPorts; ++i) {
    const auto port = static_cast<uint16_t>(kFirstChangedPort + i);
    NPG_RETURN_IF_ERROR(cluster_.Add(port, 1));
    NPG_RETURN_IF_ERROR(Await("new NodePort in the map", [&] { return map.HasTcp(port); }));
    NPG_RETURN_IF_ERROR(Pause(kPause));
    NPG_RETURN_IF_ERROR(cluster_.Remove(port));
    NPG_RETURN_IF_ERROR(Await("end of a NodePort", [&] { return !map.HasTcp(port); }));
    NPG_RETURN_IF_ERROR(Pause(kPause));
  }
  const absl::StatusOr<double> after = CpuSeconds(guard.pid());
  if (!after.ok()) return after.status();
  return (*after - *before) * 1e3 / (2 * kChangedPorts);
}

absl::StatusOr<Sample> ControllerBench::MeasureStart(size_t services) {
  absl::StatusOr<GuardProcess> guard = StartGuard();
  if (!guard.ok()) return guard.status();
  const absl::StatusOr<NodePortsMap> map = NodePortsMap::Open(node_->bpffs());
  if (!map.ok()) return map.status();
  const auto last = static_cast<uint16_t>(kFirstPort + services - 1);
  NPG_RETURN_IF_ERROR(AwaitAll(*map, last, services));
  const absl::StatusOr<double> cpu = CpuSeconds(guard->pid());
  if (!cpu.ok()) return cpu.status();
  NPG_RETURN_IF_ERROR(Pause(kSettled));
  const absl::StatusOr<Memory> memory = MemoryOf(guard->pid());
  if (!memory.ok()) return memory.status();
  const absl::StatusOr<double> change = MeasureChanges(*guard, *map);
  if (!change.ok()) return change.status();
  NPG_RETURN_IF_ERROR(guard->Stop());
  return Sample{.list_cpu = *cpu, .change_cpu = *change, .memory = *memory};
}

absl::StatusOr<std::vector<Sample>> ControllerBench::MeasureStarts(size_t services,
                                                                   absl::Duration time) {
  NPG_RETURN_IF_ERROR(
      cluster_.Add(static_cast<uint16_t>(kFirstPort + services_), services - services_));
  services_ = services;
  std::vector<Sample> samples;
  const absl::Time end = absl::Now() + time;
  while (samples.size() < kMinRepeats || (absl::Now() < end && samples.size() < kMaxRepeats)) {
    const absl::StatusOr<Sample> sample = MeasureStart(services);
    if (!sample.ok()) return sample.status();
    samples.push_back(*sample);
  }
  return samples;
}

// The milliseconds from `count` new NodePorts until the last one is in the map.
absl::StatusOr<double> ControllerBench::MeasureBurst(const NodePortsMap& map, size_t count) {
  absl::Status status;
  uint64_t created = 0;
  cluster_.server().Change([&](ApiModel& model) {
    const std::string service = model.Services().at("default/" + NameOf(kFirstPort));
    for (size_t i = 0; i < count; ++i) {
      const auto port = static_cast<uint16_t>(kFirstBurstPort + i);
      status.Update(model
                        .PutJson(absl::StrReplaceAll(service, {{NameOf(kFirstPort), NameOf(port)},
                                                               {PortOf(kFirstPort), PortOf(port)}}))
                        .status());
    }
    // The server sends nothing before this function returns.
    created = base::BootNanoseconds();
  });
  NPG_RETURN_IF_ERROR(status);
  const auto last = static_cast<uint16_t>(kFirstBurstPort + count - 1);
  NPG_RETURN_IF_ERROR(Await("last NodePort in the map", [&] { return map.HasTcp(last); }));
  const double took = static_cast<double>(base::BootNanoseconds() - created) / 1e6;
  if (map.Size() != services_ + count) return absl::InternalError("the map is not filled in order");
  cluster_.server().Change([&](ApiModel& model) {
    for (size_t i = 0; i < count; ++i) {
      const auto port = static_cast<uint16_t>(kFirstBurstPort + i);
      status.Update(model.Delete("default", NameOf(port)).status());
    }
  });
  NPG_RETURN_IF_ERROR(status);
  NPG_RETURN_IF_ERROR(Await("end of the NodePorts", [&] { return map.Size() == services_; }));
  NPG_RETURN_IF_ERROR(Pause(kPause));
  return took;
}

absl::StatusOr<Growth> ControllerBench::MeasureBursts(absl::Duration time) {
  services_ = kServices.front();
  NPG_RETURN_IF_ERROR(cluster_.Add(kFirstPort, services_));
  absl::StatusOr<GuardProcess> guard = StartGuard();
  if (!guard.ok()) return guard.status();
  const absl::StatusOr<NodePortsMap> map = NodePortsMap::Open(node_->bpffs());
  if (!map.ok()) return map.status();
  NPG_RETURN_IF_ERROR(AwaitAll(*map, kFirstBurstPort - 1, services_));
  NPG_RETURN_IF_ERROR(Pause(kSettled));
  std::array<std::vector<double>, kBursts.size()> samples;
  // All sizes in turn, so that drift of the machine is in all of them.
  const absl::Time end = absl::Now() + time;
  for (size_t round = 0; round < kMinRepeats || (absl::Now() < end && round < kMaxRepeats);
       ++round) {
    for (size_t i = 0; i < kBursts.size(); ++i) {
      const absl::StatusOr<double> took = MeasureBurst(*map, kBursts[i]);
      if (!took.ok()) return base::Annotate(took.status(), absl::StrCat("burst of ", kBursts[i]));
      samples[i].push_back(*took);
    }
  }
  NPG_RETURN_IF_ERROR(guard->Stop());
  Growth growth{"burst", "How long the guard takes to learn many NodePorts at once",
                "NodePorts created at once", "ms until the last is in the map"};
  growth.series.push_back({"source kubernetes", {}});
  for (size_t i = 0; i < kBursts.size(); ++i) {
    growth.series[0].points.push_back({static_cast<double>(kBursts[i]), SpreadOf(samples[i])});
  }
  return growth;
}

absl::StatusOr<std::vector<Growth>> ControllerBench::Run(absl::Duration time) {
  NPG_RETURN_IF_ERROR(testing::WriteKubeconfig(cluster_.server(), node_->File("kubeconfig")));
  absl::StatusOr<Growth> burst = MeasureBursts(time / 4);
  if (!burst.ok()) return burst.status();

  Growth memory{"memory", "Memory of the controller, by the NodePort Services", "NodePort Services",
                "MiB resident"};
  Growth list{"list", "Processor time of a start with its first list, by the NodePort Services",
              "NodePort Services", "s of processor time"};
  Growth change{"change", "Processor time of a created or deleted NodePort, by those there are",
                "NodePort Services", "ms of processor time"};
  using Value = double (*)(const Sample&);
  struct Line {
    Growth* growth;
    const char* name;
    Value value;
  };
  const std::array<Line, 5> lines = {{
      {&memory, "peak", [](const Sample& sample) { return sample.memory.peak; }},
      {&memory, "after the first list", [](const Sample& sample) { return sample.memory.now; }},
      {&memory, "of it the process's own",
       [](const Sample& sample) { return sample.memory.anonymous; }},
      {&list, "start and first list", [](const Sample& sample) { return sample.list_cpu; }},
      {&change, "one change", [](const Sample& sample) { return sample.change_cpu; }},
  }};
  for (const Line& line : lines) line.growth->series.push_back({line.name, {}});
  for (const size_t services : kServices) {
    const absl::StatusOr<std::vector<Sample>> samples =
        MeasureStarts(services, time * 3 / 4 / static_cast<double>(kServices.size()));
    if (!samples.ok()) {
      return base::Annotate(samples.status(), absl::StrCat(services, " Services"));
    }
    for (const Line& line : lines) {
      std::vector<double> values;
      for (const Sample& sample : *samples) values.push_back(line.value(sample));
      const auto series =
          std::find_if(line.growth->series.begin(), line.growth->series.end(),
                       [&line](const GrowthSeries& one) { return one.name == line.name; });
      series->points.push_back({static_cast<double>(services), SpreadOf(values)});
    }
  }
  return std::vector<Growth>{std::move(memory), std::move(list), std::move(change),
                             *std::move(burst)};
}

}  // namespace

absl::StatusOr<std::vector<Growth>> ControllerGrowth(absl::Duration time,
                                                     absl::FunctionRef<bool()> stop) {
  // The thread of the server must be on the node, too.
  auto node = TestNode::Create();
  if (!node.ok()) return node.status();
  NPG_RETURN_IF_ERROR(testing::SetSysctl("net/ipv4/ip_local_port_range", kPickedPorts));
  absl::StatusOr<Cluster> cluster = Cluster::Start();
  if (!cluster.ok()) return cluster.status();
  return ControllerBench(*std::move(node), *std::move(cluster), stop).Run(time);
}

}  // namespace npg::bench
