// SPDX-License-Identifier: Apache-2.0
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "abi/entries.h"
#include "abi/names.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "cli/args/options.h"
#include "cli/build_info.h"
#include "cli/doctor_ports.h"
#include "cli/doctor_report.h"
#include "cli/execute.h"
#include "cli/exit_code.h"
#include "cli/gather.h"
#include "cli/guard_text.h"
#include "cli/node_paths.h"
#include "cli/output.h"
#include "cli/table.h"
#include "core/mark.h"
#include "core/node_address.h"
#include "core/owner_policy.h"
#include "core/port.h"
#include "dataplane/bpf/guard_state.h"
#include "dataplane/bpf/pin_paths.h"
#include "dataplane/nft/nft_table.h"
#include "doctor/facts.h"
#include "doctor/finding.h"
#include "doctor/findings.h"
#include "inspect/guard_facts.h"
#include "inspect/guard_parts.h"
#include "inspect/kernel_probe.h"
#include "inspect/local_addresses.h"
#include "inspect/nft_probe.h"
#include "inspect/status.h"
#include "node/cgroup_programs.h"
#include "node/cgroups.h"
#include "node/node_files.h"
#include "node/rules_reader.h"
#include "node/socket_lb.h"
#include "node/untracked_obstacles.h"
#include "rules/connect.h"
#include "rules/evaluator.h"
#include "rules/node_rules.h"
#include "rules/rule_changes.h"
#include "rules/save_command.h"

namespace npg::cli {
namespace {

// While other programs change rules.
constexpr int kTriesToReadRules = 5;

doctor::KernelFacts TryKernel(abi::Scope scope) {
  doctor::KernelFacts kernel;
  utsname name{};
  if (uname(&name) == 0) kernel.release = name.release;
  rlimit memlock{};
  // libbpf raises it where it needs to and may.
  kernel.memlock_limited =
      getrlimit(RLIMIT_MEMLOCK, &memlock) == 0 && memlock.rlim_max != RLIM_INFINITY;
  kernel.programs = inspect::TryPrograms(scope);
  kernel.helpers = inspect::TryHelpers();
  kernel.ring_buffer = inspect::TryRingBuffer();
  kernel.cgroup_link = inspect::TryCgroupLink();
  kernel.nf_tables = inspect::TryNfTables();
  kernel.nft_owner = inspect::TryNftOwner();
  kernel.sock_diag = inspect::TrySockDiag();
  return kernel;
}

// The uppermost folder that is on the same mount as `cgroup`, or above it.
std::string TopCgroup(const std::string& cgroup) {
  std::error_code error;
  std::filesystem::path top = std::filesystem::canonical(cgroup, error);
  if (error) return cgroup;
  for (;;) {
    const std::filesystem::path parent = top.parent_path();
    struct statfs info {};
    if (parent == top || statfs(parent.c_str(), &info) != 0 ||
        static_cast<uint64_t>(info.f_type) != CGROUP2_SUPER_MAGIC) {
      return top.string();
    }
    top = parent;
  }
}

doctor::MountFacts ReadMounts(const NodeOptions& node, absl::StatusOr<std::string> cgroup) {
  doctor::MountFacts mounts;
  mounts.cgroup = std::move(cgroup);
  mounts.named = !node.cgroup.empty();
  mounts.bpffs = node.bpffs;
  mounts.bpffs_status = CheckBpffs(node.bpffs);
  if (mounts.cgroup.ok()) {
    mounts.whole = node::IsHierarchyRoot(*mounts.cgroup);
    mounts.root_in_sight = node::IsHierarchyRoot(TopCgroup(*mounts.cgroup));
  }
  return mounts;
}

// What is known of the guard; `programs` gets the ids of its programs.
// Replaces `rules` by those of a loaded guard.
doctor::GuardFacts ReadGuard(const NodeOptions& node, std::vector<uint32_t>& programs,
                             core::OwnerRules& rules) {
  doctor::GuardFacts guard;
  if (const absl::StatusOr<abi::Config> config =
          dataplane::ReadConfig(dataplane::PinPaths(node.bpffs));
      config.ok()) {
    guard.abi_version = config->abi_version;
    guard.version = config->version;
    guard.local_scope = config->scope == abi::Scope::kLocal;
    guard.mark = core::Mark{config->mark, config->mark_mask};
  }
  const absl::StatusOr<inspect::GuardFacts> facts =
      Gather(node, [](const core::PortKey&, bool /*nodeport*/) { return false; });
  if (!facts.ok()) {
    guard.state = absl::IsNotFound(facts.status()) ? doctor::GuardFacts::State::kNone
                                                   : doctor::GuardFacts::State::kUnreadable;
    guard.error = std::string(facts.status().message());
    return guard;
  }
  guard.state = doctor::GuardFacts::State::kLoaded;
  guard.controller = facts->controller;
  guard.same_netns = facts->same_netns;
  guard.problems = inspect::Problems(*facts);
  guard.protection = facts->protection;
  guard.nodeports = facts->nodeports.size();
  guard.refusable = facts->refusable.size();
  guard.only_rules = std::all_of(facts->sources.begin(), facts->sources.end(), [](const auto& of) {
    return of.first == abi::Source::kNetfilter;
  });
  guard.standing_aside = inspect::AsideProblem(*facts).value_or("");
  for (const inspect::LinkFact& fact : facts->links) programs.push_back(fact.link.program_id);
  rules = inspect::Rules(*facts);
  return guard;
}

// Lines that could not be read go to the finding not-seen.
doctor::EvaluatedRules EvaluateRules(const core::AddressSet& own, bool local_scope,
                                     std::vector<std::string>& unseen) {
  rules::NodeRules::Options options;
  options.own_table = std::string(dataplane::kNftTableName);
  options.command_folders = rules::CommandFolders();
  rules::EvaluateOptions evaluate;
  evaluate.node_addresses = own;
  rules::NodeRules node_rules(std::move(options),
                              rules::ConnectsToLoopbackAnd(local_scope ? own : core::AddressSet()),
                              std::move(evaluate));
  auto reading = node_rules.Read(rules::RuleChanges::Everything(), kTriesToReadRules);
  if (!reading.ok()) {
    unseen.push_back(absl::StrCat("rules that a connect meets: ", reading.status().message()));
    return {{}, {}, 0, /*all=*/false};
  }
  for (const absl::Status& failure : reading->failed) {
    unseen.push_back(absl::StrCat("rules that a connect meets: ", failure.message()));
  }
  return {std::move(reading->evaluation.unknown), std::move(reading->evaluation.broad),
          reading->rules, reading->failed.empty() && !reading->unread};
}

// The source netfilter skips what the finding `rules` has.
void RemoveRepeated(const doctor::EvaluatedRules& rules, std::vector<std::string>& skipped) {
  const auto names = [&rules](const std::string& line) {
    const auto in_line = [&line](const std::string& rule) { return absl::StrContains(line, rule); };
    return std::any_of(rules.unknown.begin(), rules.unknown.end(), in_line) ||
           std::any_of(rules.broad.begin(), rules.broad.end(), in_line);
  };
  skipped.erase(std::remove_if(skipped.begin(), skipped.end(), names), skipped.end());
}

}  // namespace

absl::StatusOr<int> Execute(const DoctorOptions& options) {
  absl::StatusOr<std::string> cgroup = ResolveCgroup(options.node);
  if (IsUsageError(cgroup.status())) return cgroup.status();
  doctor::Facts facts;
  facts.version = std::string(Version());
  facts.abi_version = abi::kVersion;
  const auto addresses = inspect::ReadLocalAddresses(options.node.bpffs, options.local_addresses);
  std::vector<uint32_t> own_programs;
  core::OwnerRules rules{DefaultOwnerPolicy(), {}};
  facts.guard = ReadGuard(options.node, own_programs, rules);
  facts.local_scope = options.scope == abi::Scope::kLocal || facts.guard.local_scope;
  const core::AddressSet own = addresses.ok() ? addresses->own : core::AddressSet();
  absl::StatusOr<doctor::PortFacts> ports = ReadPortFacts(
      options.node, options.sources, own, facts.local_scope ? own : core::AddressSet(), rules);
  if (!ports.ok()) return ports.status();
  if (!addresses.ok()) ports->source_errors.emplace_back(addresses.status().message());
  facts.ports = *std::move(ports);
  facts.capabilities = node::ReadEffectiveCapabilities(kProc).value_or(0);

  if (addresses.ok()) {
    facts.left_out_addresses = core::LeftOutText(addresses->left_out, kMaxLeftOut);
  }
  facts.mark = options.mark.value_or(facts.guard.mark.value_or(core::Mark{}));
  facts.kernel = TryKernel(facts.local_scope ? abi::Scope::kLocal : abi::Scope::kLoopback);
  facts.mounts = ReadMounts(options.node, std::move(cgroup));
  facts.netns_of_init = node::InNetnsOfInit(kProc);
  if (facts.mounts.cgroup.ok()) {
    facts.programs = node::ReadCgroupPrograms(*facts.mounts.cgroup, own_programs);
  }
  facts.cilium_socket_lb =
      node::HasCiliumSocketLb(options.node.bpffs, facts.mounts.cgroup.value_or(""));
  facts.rules = node::ReadRules(kProc, std::string(dataplane::kNftTableName));
  facts.evaluated = EvaluateRules(addresses.ok() ? addresses->own : core::AddressSet(),
                                  facts.local_scope, facts.rules.unseen);
  RemoveRepeated(facts.evaluated, facts.ports.skipped);
  facts.obstacles = node::ReadUntrackedObstacles(std::string(dataplane::kNftTableName));
  facts.legacy_tables = node::HasLegacyTables(kProc, false) || node::HasLegacyTables(kProc, true);
  facts.route_localnet = node::ReadRouteLocalnet(kProc);

  const std::vector<doctor::Finding> findings = doctor::Judge(facts);
  NPG_RETURN_IF_ERROR(WriteOut(options.output == OutputFormat::kTable
                                   ? RenderDoctor(findings, StyleOfStdout())
                                   : ToDocument(DoctorJson(findings), options.output)));
  return doctor::Prevented(findings) ? kExitNotCapable : kExitOk;
}

}  // namespace npg::cli
