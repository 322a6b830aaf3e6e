// SPDX-License-Identifier: Apache-2.0
#include "bench/command_bench.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "bench/cluster.h"
#include "bench/figure.h"
#include "bench/measure.h"
#include "bench/process_usage.h"
#include "dataplane/bpf/bpf_guard.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "nlohmann/json.hpp"
#include "testing/command.h"
#include "testing/guard_process.h"
#include "testing/kube_proxy_rules.h"
#include "testing/test_node.h"
#include "testing/transport.h"

namespace npg::bench {
namespace {

using ::npg::testing::ChildProcess;
using ::npg::testing::TestNode;
using ::npg::testing::Transport;

// All in one block below the ports that the kernel picks.
constexpr uint16_t kFirstCommandPort = 10000;
constexpr uint16_t kCommandPorts = 10000;
constexpr size_t kLiveFlows = 1000;
constexpr size_t kStartRounds = 15;
constexpr size_t kStatusRounds = 30;
constexpr double kStatusGoalMs = 15;
constexpr double kGuardedGoalMs = 60;

struct CommandTimes {
  std::vector<double> wall, cpu;  // milliseconds
};

// Of the children that were waited for.
absl::StatusOr<double> CommandCpu() {
  rusage usage{};
  if (getrusage(RUSAGE_CHILDREN, &usage) != 0) return base::ErrnoStatus(errno, "getrusage");
  const auto milliseconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_usec) / 1e3;
  };
  return milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime);
}

// From before fork() until it has ended. Returns its standard output.
absl::StatusOr<std::string> TimeCommand(const std::vector<std::string>& command,
                                        CommandTimes& times) {
  const absl::StatusOr<double> before = CommandCpu();
  if (!before.ok()) return before.status();
  const absl::Time start = absl::Now();
  auto child = ChildProcess::Start(command);
  if (!child.ok()) return child.status();
  // Wait() polls; this call wakes at once, and leaves the child to be reaped.
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(child->pid()), &info, WEXITED | WNOWAIT) != 0) {
    if (errno != EINTR) return base::ErrnoStatus(errno, "waitid");
  }
  const absl::Duration wall = absl::Now() - start;
  auto result = child->Wait();
  if (!result.ok()) return result.status();
  if (result->exit_code != 0) {
    return absl::InternalError(absl::StrCat(command[1], ": exit code ", result->exit_code, ": ",
                                            result->out, result->err));
  }
  const absl::StatusOr<double> after = CommandCpu();
  if (!after.ok()) return after.status();
  times.wall.push_back(absl::ToDoubleMilliseconds(wall));
  times.cpu.push_back(*after - *before);
  return std::move(result->out);
}

// Receives what the guard tells a service manager.
class Readiness {
 public:
  static absl::StatusOr<Readiness> Listen(const std::string& path) {
    Readiness readiness;
    readiness.socket_.Reset(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) return absl::InvalidArgumentError(path);
    std::copy(path.begin(), path.end(), std::begin(address.sun_path));
    if (!readiness.socket_ || bind(readiness.socket_.get(), reinterpret_cast<sockaddr*>(&address),
                                   sizeof(address)) != 0) {
      return base::ErrnoStatus(errno, absl::StrCat("bind ", path));
    }
    // There are no other threads.
    if (setenv("NOTIFY_SOCKET", path.c_str(), 1) != 0) {  // NOLINT(concurrency-mt-unsafe)
      return base::ErrnoStatus(errno, "setenv");
    }
    return readiness;
  }

  // Waits for a moment; true once it has received READY=1.
  bool Ready() const {
    pollfd wait = {socket_.get(), POLLIN, 0};
    constexpr timespec kMoment = {0, 100'000};
    if (ppoll(&wait, 1, &kMoment, nullptr) <= 0) return false;
    std::array<char, 256> text{};
    const ssize_t size = recv(socket_.get(), text.data(), text.size(), 0);
    return size > 0 &&
           absl::StrContains(absl::string_view(text.data(), static_cast<size_t>(size)), "READY=1");
  }

 private:
  base::UniqueFd socket_;
};

class CommandBench {
 public:
  CommandBench(std::unique_ptr<TestNode> node, Readiness readiness, absl::FunctionRef<bool()> stop)
      : node_(std::move(node)), readiness_(std::move(readiness)), stop_(stop) {}

  absl::StatusOr<std::vector<Figure>> Run();

 private:
  struct Starts {
    std::vector<double> attached, ready, cpu, load;  // milliseconds
  };

  std::vector<std::string> RunCommand() const;
  absl::StatusOr<ChildProcess> Start(Starts* starts) const;
  absl::Status Stop(ChildProcess guard) const;
  absl::Status MeasureStarts();
  absl::Status MeasureLoad(Starts& starts) const;
  absl::Status MeasureStatus(const std::string& group, size_t flows);
  absl::Status OpenFlows();
  void Add(const std::string& group, const std::string& what, const std::vector<double>& times,
           std::optional<double> goal = std::nullopt);

  std::unique_ptr<TestNode> node_;
  Readiness readiness_;
  absl::FunctionRef<bool()> stop_;
  std::vector<base::UniqueFd> sockets_;
  std::vector<Figure> figures_;
};

void CommandBench::Add(const std::string& group, const std::string& what,
                       const std::vector<double>& times, std::optional<double> goal) {
  figures_.push_back({group, absl::StrCat(what, ", best"), "ms", Quantile(times, 0)});
  figures_.push_back({group, absl::StrCat(what, ", p50"), "ms", Quantile(times, 0.5), goal});
  figures_.push_back({group, absl::StrCat(what, ", p99"), "ms", Quantile(times, 0.99)});
}

std::vector<std::string> CommandBench::RunCommand() const {
  return testing::GuardCommand(
      *node_, {"run", "--source", "file", "--nodeports-file", node_->File("nodeports.json")});
}

// Returns when it is ready.
absl::StatusOr<ChildProcess> CommandBench::Start(Starts* starts) const {
  const std::string link = dataplane::PinPaths(node_->bpffs()).Link(dataplane::kLinkNames.front());
  const absl::Time start = absl::Now();
  auto child = ChildProcess::Start(RunCommand());
  if (!child.ok()) return child.status();
  absl::Duration attached = absl::ZeroDuration();
  // The links are pinned after the maps were filled and the programs attached.
  for (bool ready = false; !ready;) {
    if (stop_()) return absl::CancelledError("interrupted");
    ready = readiness_.Ready();
    const absl::Duration now = absl::Now() - start;
    if (attached == absl::ZeroDuration() && access(link.c_str(), F_OK) == 0) attached = now;
    if (!ready && !child->Running()) {
      return absl::InternalError(absl::StrCat("nodeport-guard run ended: ", child->Err()));
    }
    if (!ready || starts == nullptr) continue;
    starts->ready.push_back(absl::ToDoubleMilliseconds(now));
    starts->attached.push_back(absl::ToDoubleMilliseconds(attached));
    const absl::StatusOr<double> cpu = CpuSeconds(child->pid());
    if (!cpu.ok()) return cpu.status();
    starts->cpu.push_back(*cpu * 1e3);
  }
  const absl::StatusOr<NodePortsMap> map = NodePortsMap::Open(node_->bpffs());
  if (!map.ok()) return map.status();
  if (map->Size() < kCommandPorts) return absl::InternalError("the map is not filled");
  return child;
}

absl::Status CommandBench::Stop(ChildProcess guard) const {
  guard.Signal(SIGTERM);
  NPG_RETURN_IF_ERROR(guard.Wait().status());
  return testing::RunCommand({node_->guard(), "unload", "--bpffs", node_->bpffs()}).status();
}

// Of the BPF object with its maps, in this process, without a pin.
absl::Status CommandBench::MeasureLoad(Starts& starts) const {
  const absl::Time start = absl::Now();
  const auto guard = dataplane::BpfGuard::Load(dataplane::PinPaths(node_->bpffs()),
                                               {abi::Scope::kLoopback, abi::BindProtection::kOff});
  if (!guard.ok()) return guard.status();
  starts.load.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
  return absl::OkStatus();
}

absl::Status CommandBench::MeasureStarts() {
  Starts starts;
  CommandTimes version;
  for (size_t round = 0; round < kStartRounds; ++round) {
    NPG_RETURN_IF_ERROR(TimeCommand({node_->guard(), "version"}, version).status());
    NPG_RETURN_IF_ERROR(MeasureLoad(starts));
    auto guard = Start(&starts);
    if (!guard.ok()) return guard.status();
    NPG_RETURN_IF_ERROR(Stop(*std::move(guard)));
  }
  const std::string group = absl::StrCat("start of 'run' with ", kCommandPorts, " NodePorts");
  Add(group, "until the programs are attached", starts.attached);
  Add(group, "until it guards", starts.ready, kGuardedGoalMs);
  Add(group, "processor time until it guards", starts.cpu);
  Add(group, "loading the BPF object alone", starts.load);
  Add(group, "'version'", version.wall);
  return absl::OkStatus();
}

absl::Status CommandBench::MeasureStatus(const std::string& group, size_t flows) {
  CommandTimes table, json, version;
  for (size_t round = 0; round < kStatusRounds; ++round) {
    if (stop_()) return absl::CancelledError("interrupted");
    NPG_RETURN_IF_ERROR(TimeCommand(testing::GuardCommand(*node_, {"status"}), table).status());
    const auto printed = TimeCommand(testing::GuardCommand(*node_, {"status", "-o", "json"}), json);
    if (!printed.ok()) return printed.status();
    NPG_RETURN_IF_ERROR(TimeCommand({node_->guard(), "version"}, version).status());
    const auto status = nlohmann::json::parse(*printed, nullptr, /*allow_exceptions=*/false);
    const auto number = [&status](const char* pointer) {
      return status.value(nlohmann::json::json_pointer(pointer), size_t{0});
    };
    if (number("/guard/nodeports/total") != kCommandPorts ||
        number("/guard/nft_table/flows") < flows) {
      return absl::InternalError(absl::StrCat("status shows ", number("/guard/nodeports/total"),
                                              " NodePorts and ", number("/guard/nft_table/flows"),
                                              " flows"));
    }
  }
  Add(group, "table", table.wall, kStatusGoalMs);
  Add(group, "JSON", json.wall, kStatusGoalMs);
  Add(group, "processor time, table", table.cpu);
  Add(group, "'version'", version.wall);
  return absl::OkStatus();
}

// Exempt connections of this process to a listener of its own.
absl::Status CommandBench::OpenFlows() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kFirstCommandPort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto* const to = reinterpret_cast<const sockaddr*>(&address);
  base::UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener || bind(listener.get(), to, sizeof(address)) != 0 ||
      listen(listener.get(), kLiveFlows) != 0) {
    return base::ErrnoStatus(errno, "listen on a NodePort");
  }
  for (size_t i = 0; i < kLiveFlows; ++i) {
    base::UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!client || connect(client.get(), to, sizeof(address)) != 0) {
      return base::ErrnoStatus(errno, "connect to a NodePort");
    }
    base::UniqueFd accepted(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!accepted) return base::ErrnoStatus(errno, "accept");
    sockets_.push_back(std::move(client));
    sockets_.push_back(std::move(accepted));
  }
  sockets_.push_back(std::move(listener));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Figure>> CommandBench::Run() {
  std::vector<testing::NodePort> nodeports;
  for (uint16_t i = 0; i < kCommandPorts; ++i) {
    nodeports.push_back({static_cast<uint16_t>(kFirstCommandPort + i), Transport::kTcp});
  }
  NPG_RETURN_IF_ERROR(testing::WriteNodePortsFile(node_->File("nodeports.json"), nodeports));
  NPG_RETURN_IF_ERROR(MeasureStarts());
  auto guard = Start(nullptr);
  if (!guard.ok()) return guard.status();
  const std::string group = absl::StrCat("'status', ", kCommandPorts, " NodePorts");
  NPG_RETURN_IF_ERROR(MeasureStatus(absl::StrCat(group, ", idle"), 0));
  NPG_RETURN_IF_ERROR(OpenFlows());
  NPG_RETURN_IF_ERROR(MeasureStatus(absl::StrCat(group, ", ", kLiveFlows, " flows"), kLiveFlows));
  NPG_RETURN_IF_ERROR(Stop(*std::move(guard)));
  return figures_;
}

}  // namespace

absl::StatusOr<std::vector<Figure>> CommandFigures(absl::FunctionRef<bool()> stop) {
  auto node = TestNode::Create();
  if (!node.ok()) return node.status();
  auto readiness = Readiness::Listen((*node)->File("ready"));
  if (!readiness.ok()) return readiness.status();
  return CommandBench(*std::move(node), *std::move(readiness), stop).Run();
}

}  // namespace npg::bench
