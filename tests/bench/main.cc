// SPDX-License-Identifier: Apache-2.0
//
// The cost of the guard for unrelated and for exempt connects, the resources of its
// controller in a large cluster, many connections, and the time of a scan of a large node. All
// variants of a comparison are measured in one run, in turn. Uses its own network namespace and
// cgroup, and changes nothing of the machine.

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <exception>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/errno_status.h"
#include "bench/auto_bench.h"
#include "bench/command_bench.h"
#include "bench/comparisons.h"
#include "bench/datagram_bench.h"
#include "bench/environment.h"
#include "bench/figure.h"
#include "bench/fleet_bench.h"
#include "bench/flow_bench.h"
#include "bench/growth.h"
#include "bench/growth_bench.h"
#include "bench/kubernetes_bench.h"
#include "bench/measure.h"
#include "bench/programs.h"
#include "bench/report.h"
#include "bench/rules_bench.h"
#include "bench/scan_bench.h"
#include "testing/command.h"
#include "testing/net_namespace.h"
#include "testing/test_cgroup.h"

namespace npg::bench {
namespace {

struct Options {
  std::string output = "table";
  std::string group;
  double seconds = 30;
};

std::atomic<bool>& Interrupted() {
  static std::atomic<bool> interrupted = false;
  return interrupted;
}

absl::Status Prepare() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return base::ErrnoStatus(errno, "getrlimit");
  files.rlim_cur = files.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &files) != 0) return base::ErrnoStatus(errno, "setrlimit");
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP}) {
    if (std::signal(signal_number, [](int) { Interrupted() = true; }) == SIG_ERR) {
      return base::ErrnoStatus(errno, "signal");
    }
  }
  return absl::OkStatus();
}

absl::Status EnterOwnNamespace() {
  const absl::StatusOr<testing::NetNamespace> netns = testing::NetNamespace::Create();
  if (!netns.ok()) return netns.status();
  NPG_RETURN_IF_ERROR(netns->Enter());
  for (const std::vector<std::string>& address : std::vector<std::vector<std::string>>{
           {absl::StrCat(kElsewhere4, "/32")}, {absl::StrCat(kElsewhere6, "/128"), "nodad"}}) {
    std::vector<std::string> command = {"ip", "address", "add", "dev", "lo"};
    command.insert(command.end(), address.begin(), address.end());
    const absl::StatusOr<std::string> added = testing::RunCommand(command);
    if (!added.ok()) return added.status();
  }
  return absl::OkStatus();
}

absl::Status RunComparisons(const Options& options) {
  NPG_RETURN_IF_ERROR(StayOnOneCpu());
  NPG_RETURN_IF_ERROR(EnterOwnNamespace());
  const auto cgroup = testing::TestCgroup::Create();
  if (!cgroup.ok()) return cgroup.status();
  const auto programs = Programs::Load((*cgroup)->path());
  if (!programs.ok()) return programs.status();

  std::vector<Comparison> comparisons;
  const auto add = [&](const std::string& group,
                       absl::StatusOr<std::vector<Comparison>> more) -> absl::Status {
    if (!more.ok()) return base::Annotate(more.status(), absl::StrCat("prepare ", group));
    std::move(more->begin(), more->end(), std::back_inserter(comparisons));
    return absl::OkStatus();
  };
  const auto wanted = [&](const std::string& group) {
    return options.group.empty() || options.group == group;
  };
  if (wanted("connect")) NPG_RETURN_IF_ERROR(add("connect", ConnectComparisons(**programs)));
  if (wanted("bind")) NPG_RETURN_IF_ERROR(add("bind", BindComparisons(**programs)));
  if (wanted("packets")) NPG_RETURN_IF_ERROR(add("packets", PacketComparisons()));

  const absl::Duration budget =
      absl::Seconds(options.seconds) / static_cast<double>(comparisons.size());
  std::vector<Result> results;
  for (const Comparison& comparison : comparisons) {
    absl::StatusOr<Result> result =
        Compare(comparison, budget, [] { return Interrupted().load(); });
    if (!result.ok()) return result.status();
    results.push_back(*std::move(result));
  }
  const Environment environment = ReadEnvironment();
  std::cout << (options.output == "json" ? Json(results, environment)
                                         : Table(results, environment));
  return absl::OkStatus();
}

absl::Status Print(const Options& options, const absl::StatusOr<std::vector<Figure>>& figures) {
  if (!figures.ok()) return figures.status();
  const Environment environment = ReadEnvironment();
  std::cout << (options.output == "json" ? Json(*figures, environment)
                                         : Table(*figures, environment));
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  NPG_RETURN_IF_ERROR(Prepare());
  const auto stop = [] { return Interrupted().load(); };
  if (options.group == "kubernetes") {
    return Print(options, KubernetesFigures(absl::Seconds(options.seconds), stop));
  }
  if (options.group == "auto") return Print(options, AutoFigures(stop));
  if (options.group == "commands") return Print(options, CommandFigures(stop));
  if (options.group == "datagrams") return Print(options, DatagramFigures(stop));
  if (options.group == "fleet") return Print(options, FleetFigures(stop));
  if (options.group == "flows") {
    return Print(options, FlowFigures(absl::Seconds(options.seconds), stop));
  }
  if (options.group == "growth") {
    const auto growths = MeasureGrowth(absl::Seconds(options.seconds), stop);
    if (!growths.ok()) return growths.status();
    std::cout << (options.output == "json" ? Json(*growths) : Table(*growths));
    return absl::OkStatus();
  }
  if (options.group == "rules") {
    return Print(options, RulesFigures(absl::Seconds(options.seconds), stop));
  }
  if (options.group == "scan") return Print(options, ScanFigures(stop));
  return RunComparisons(options);
}

int Main(int argc, char** argv) {
  CLI::App app("Measures what the guard costs, as ratios within one run. Needs root.", "npg_bench");
  Options options;
  app.add_option("-o,--output", options.output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  app.add_option("--group", options.group,
                 "only this group: connect, bind or packets; or auto, kubernetes, commands, "
                 "datagrams, fleet, flows, growth, rules or scan, which run only if named")
      ->check(CLI::IsMember({"connect", "bind", "packets", "auto", "kubernetes", "commands",
                             "datagrams", "fleet", "flows", "growth", "rules", "scan"}));
  app.add_option(
         "--seconds", options.seconds,
         "how long to measure in total; kubernetes: how long to watch an idle guard; "
         "flows: how long to connect; growth: connects and packets, and three times as long the "
         "controller; rules: how long to rewrite them, in each variant")
      ->check(CLI::Range(1.0, 3600.0))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (geteuid() != 0) {
    std::cerr << "npg_bench: needs root: it makes namespaces and loads BPF programs\n";
    return 4;
  }
  if (const absl::Status status = Run(options); !status.ok()) {
    std::cerr << "npg_bench: " << status.message() << "\n";
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace npg::bench

int main(int argc, char** argv) {
  try {
    return npg::bench::Main(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "npg_bench: " << error.what() << "\n";
    return 1;
  }
}
