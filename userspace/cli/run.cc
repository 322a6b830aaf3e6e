// SPDX-License-Identifier: Apache-2.0
#include <spdlog/spdlog.h>

#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/capabilities.h"
#include "base/errno_status.h"
#include "base/memory.h"
#include "cli/args/environment.h"
#include "cli/args/options.h"
#include "cli/build_info.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/gather.h"
#include "cli/make_sources.h"
#include "cli/metrics_page.h"
#include "cli/node_paths.h"
#include "cli/run_http.h"
#include "cli/start_kube_events.h"
#include "controller/controller.h"
#include "core/listener.h"
#include "core/node_address.h"
#include "core/port.h"
#include "dataplane/bpf/pin_paths.h"
#include "inspect/guard_facts.h"
#include "inspect/status.h"
#include "log/health.h"
#include "log/log.h"
#include "node/node_addresses.h"
#include "node/reserved_ports.h"
#include "node/untracked_obstacles.h"
#include "serve/endpoints.h"
#include "serve/http_address.h"
#include "serve/kube_event_counts.h"
#include "serve/node_view.h"
#include "sources/netfilter_reader.h"
#include "sources/source.h"

namespace npg::cli {
namespace {

// The node as `status` shows it.
absl::StatusOr<inspect::Status> GatherNode(const NodeOptions& options,
                                           const node::LastObstacles& obstacles) {
  absl::StatusOr<inspect::GuardFacts> facts = Gather(
      options, [](const core::PortKey&, bool nodeport) { return nodeport; }, obstacles.Get());
  if (!facts.ok()) return facts.status();
  return inspect::MakeStatus(*std::move(facts));
}

// Call it before there are threads, because capabilities are per thread. Logs the missing
// optional capabilities; a missing required one shows as the error of what needs it.
void LimitCapabilities() {
  if (const absl::Status status = base::KeepNeededCapabilities(); !status.ok()) {
    spdlog::warn("drop capabilities: {}", std::string(status.message()));
  }
  if (const std::string lacked = base::LackedCapabilities({CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH});
      !lacked.empty()) {
    spdlog::warn("this process lacks {}: owners of other users' sockets have no names", lacked);
  }
}

// As the controller finds them, whenever the rules are read.
sources::NetfilterEdges::OwnAddresses GuardedAddresses(const RunOptions& options) {
  if (options.scope != abi::Scope::kLocal) return nullptr;
  return [choice = options.local_addresses]() -> absl::StatusOr<core::AddressSet> {
    const auto addresses = node::ListNodeAddresses();
    if (!addresses.ok()) return addresses.status();
    return node::ToSet(core::JudgeAddresses(*addresses, choice).own);
  };
}

// Without services.
absl::StatusOr<controller::Options> GuardOptions(const RunOptions& options,
                                                 const std::string& cgroup) {
  controller::Options guard;
  guard.intervals = options.intervals;
  guard.cgroup = cgroup;
  if (!options.owners.cgroups.empty() || !options.bind_exceptions.cgroups.empty()) {
    absl::StatusOr<std::string> root = FindCgroup2Root();
    if (!root.ok()) {
      return base::Annotate(
          root.status(), options.owners.cgroups.empty() ? "--bind-allow-cgroup" : "--guard-cgroup");
    }
    guard.cgroup_root = *std::move(root);
  }
  guard.pins = dataplane::PinPaths(options.node.bpffs);
  guard.mode = options.mode;
  guard.mark = options.mark;
  guard.scope = options.scope;
  guard.local_addresses = options.local_addresses;
  guard.policy = options.owners;
  guard.version = std::string(Version());
  guard.detach_on_exit = options.detach_on_exit;
  guard.own_nft_table = options.nft_owner;
  guard.reserve_ports = options.reserve_ports;
  guard.reserved_ports_paths = node::ReservedPortsPaths();
  guard.bind_protection = options.bind_protection;
  guard.bind_exceptions = options.bind_exceptions;
  return guard;
}

}  // namespace

absl::StatusOr<int> Execute(const RunOptions& options) {
  const absl::StatusOr<std::string> cgroup = ResolveCgroup(options.node);
  if (!cgroup.ok()) return cgroup.status();
  NPG_RETURN_IF_ERROR(CheckBpffs(options.node.bpffs));
  NPG_RETURN_IF_ERROR(log::SetUpLog(
      options.log_level, options.log_json ? log::LogFormat::kJson : log::LogFormat::kText));
  LimitCapabilities();
  base::ShareHeap();
  auto sources = MakeFollowedSources(options.sources, ReadEnvironment, options.intervals,
                                     GuardedAddresses(options));
  if (!sources.ok()) return sources.status();

  // The controller must survive when the reader of its log closes the pipe.
  std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): cannot fail for this signal
  absl::StatusOr<controller::Options> made = GuardOptions(options, *cgroup);
  if (!made.ok()) return made.status();
  controller::Options& guard = *made;
  const auto health = std::make_shared<log::Health>();
  // A scrape reads no rules: the controller knows them.
  guard.obstacles = std::make_shared<node::LastObstacles>();
  const auto node = std::make_shared<serve::NodeView>(
      [node = options.node, obstacles = guard.obstacles] { return GatherNode(node, *obstacles); });
  const auto kube_events = StartKubeEvents(options, ReadEnvironment, *node);
  if (options.http) {
    serve::Endpoints endpoints{health, node, {}};
    endpoints.metrics = MetricsPage(node, health, [&kube_events] {
      return kube_events ? kube_events->counts() : serve::KubeEventCounts();
    });
    guard.services.push_back(
        {"HTTP server", absl::StrCat("http://", serve::ToString(*options.http), "/"),
         [&options, endpoints] { return ServeHttp(*options.http, endpoints); }});
  }
  NPG_RETURN_IF_ERROR(controller::Run(guard, *std::move(sources), *health));
  return kExitOk;
}

}  // namespace npg::cli
